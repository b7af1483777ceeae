"""`success_condition`: arithmetic and comparisons on named figures, nothing else. No call, no attribute, no eval.

| name | meaning |
|---|---|
| requests | finished requests in this interval |
| error_rate, empty_rate, truncated_rate | share of those (0 to 1) |
| ttft_p95_ms, itl_p95_ms | of this interval; from histograms, interpolated within a bucket |
| ttft_p95_low_ms, ttft_p95_high_ms, itl_p95_low_ms, itl_p95_high_ms | of the phase so far: bounds of the true p95 |
| asked | questions of the suite asked so far in this phase |
| answered_share, right_share | share of those answered at all, and rightly |
| baseline_… | the same of the live slot: before the switch over the same time, after it as it was before |
| right_change | right_share minus the live slot's, over the questions that both were asked (-1 to 1) |
| right_change_low, right_change_high | bounds of its true value, valid at every measurement together |

`ttft_p95_low_ms <= limit` fails once a version is shown slower, `ttft_p95_high_ms <= limit` holds once it is shown to
be fast enough. Too few requests (for the upper bound under 80, with six measurements) have the bounds 0 and infinity.

`min`, `max`, `and`, `or`, `not`, `+ - * /` and comparisons (also chained) may be used.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from core.errors import ConfigError

LATENCY = ("ttft", "itl")
BOUNDS = tuple(f"{name}_p95_{end}_ms" for name in LATENCY for end in ("low", "high"))
TRAFFIC = ("requests", "error_rate", "empty_rate", "truncated_rate", "ttft_p95_ms", "itl_p95_ms", *BOUNDS)
ANSWERS = ("asked", "answered_share", "right_share")
PAIRED = ("right_change", "right_change_low", "right_change_high")
BASELINE = "baseline_"
LONGEST = 300  # characters; so that no nesting is too deep for Python, and no number too large for a float
NAMES = (*TRAFFIC, *ANSWERS, *PAIRED, *(BASELINE + name for name in (*TRAFFIC, *ANSWERS)))

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CALLS: dict[str, Callable[..., float]] = {"min": min, "max": max}


class Missing(Exception):  # noqa: N818 - not an error: there is no data for a name
    """A figure that the condition needs is not known."""


class Condition:
    """A checked expression. Raises ConfigError when made from anything outside the language above."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise ConfigError(f"success_condition {text[:40]!r}… has {len(text)} characters, more than {LONGEST}")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise ConfigError(f"success_condition {text!r} is not an expression: {error}") from error
        self.names = frozenset(_check(self._tree, text))
        if not isinstance(self._tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
            raise ConfigError(f"success_condition {text!r} is no comparison: write e.g. error_rate <= 0.01")

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        """Whether it holds. Raises Missing when a figure is None or absent, or a divisor is 0."""
        try:
            return bool(_value(self._tree, figures))
        except ZeroDivisionError:
            raise Missing("a division by zero") from None


def _check(node: ast.AST, text: str) -> list[str]:
    """The names used; ConfigError for a node that the language does not have."""
    if isinstance(node, ast.Name):
        if node.id not in NAMES:
            raise ConfigError(f"success_condition {text!r}: no figure '{node.id}'; known: {', '.join(NAMES)}")
        return [node.id]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return []
    parts: list[ast.AST]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = list(node.values)
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        parts = [node.left, *node.comparators]
    elif (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS
        and len(node.args) > 1 and not node.keywords
    ):  # fmt: skip
        parts = list(node.args)
    else:
        raise ConfigError(f"success_condition {text!r}: {ast.unparse(node)} is not allowed here")
    return [name for part in parts for name in _check(part, text)]


def _value(node: ast.AST, figures: Mapping[str, float | None]) -> Any:
    if isinstance(node, ast.Name):
        if (value := figures.get(node.id)) is None:
            raise Missing(f"no {node.id}")
        return value
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)  # _check let nothing else through
        return float(node.value)
    if isinstance(node, ast.BinOp):
        result = _BINARY[type(node.op)](_value(node.left, figures), _value(node.right, figures))
        if math.isnan(result):
            raise Missing("a difference or product of bounds that are infinite")
        return result
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, figures)
        return not value if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.BoolOp):
        values = [bool(_value(part, figures)) for part in node.values]  # all of them: missing data never hides
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Compare):
        terms = [_value(part, figures) for part in (node.left, *node.comparators)]
        return all(_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, terms, terms[1:], strict=False))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _CALLS[node.func.id](*(_value(part, figures) for part in node.args))
