"""A phase of params.yaml as an Argo AnalysisTemplate: each success_condition as one PromQL query.

The query gives 1 where the condition holds, 0 where it does not, and NaN or infinity where there is no data or too
little, which Argo then calls Inconclusive: neither its successCondition nor its failureCondition holds. A bound of a
p95 is the quantile at 0.95 minus or plus z * sqrt(0.95 * 0.05 / n): rollout.analysis' order statistics by the normal
approximation. Conditions on questions (right_share …) are not Prometheus' business: the rollout's own controller asks
those.
"""

from __future__ import annotations

import ast
from math import sqrt
from statistics import NormalDist
from typing import Any

from rollout.analysis import P95_ALPHA
from rollout.condition import ANSWERS, BASELINE, LATENCY, PAIRED, Condition
from rollout.params import AnalysisPhase

DIGEST, LIVE = "{{args.digest}}", "{{args.baseline}}"
LATENCIES = {f"{name}_p95_{end}ms": (name, end.rstrip("_")) for name in LATENCY for end in ("", "low_", "high_")}


def template(name: str, namespace: str, phase: AnalysisPhase, prometheus: str, baseline: bool) -> dict[str, Any]:
    """The AnalysisTemplate `name`, for the server at `prometheus`. Without `baseline`, conditions that need one are
    left out."""
    metrics = [
        {
            "name": key,
            "interval": f"{phase.interval_s:g}s",
            "initialDelay": f"{phase.interval_s:g}s",
            "count": phase.count,
            "failureLimit": phase.failure_limit,
            "inconclusiveLimit": phase.inconclusive_limit,
            "successCondition": "result[0] == 1",
            "failureCondition": "result[0] == 0",
            "provider": {"prometheus": {"address": prometheus, "query": query(text, phase)}},
        }
        for key, text in phase.success_condition.items()
        if _can(Condition(text).names, baseline)
    ]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"args": [{"name": "digest"}, {"name": "baseline"}], "metrics": metrics},
    }


def query(text: str, phase: AnalysisPhase) -> str:
    """One condition as a query with a single value."""
    names = sorted(Condition(text).names)
    holds = _scalar(ast.parse(text.strip(), mode="eval").body, phase)
    # NaN if any of them is. A p95 is known when its interval is: the upper bound of few requests is infinite.
    known = sorted({name.replace("_low_ms", "_ms").replace("_high_ms", "_ms") for name in names})
    unknown = " + ".join(f"0 * {_figure(name, phase)}" for name in known)
    sides = sorted({BASELINE if name.startswith(BASELINE) else "" for name in names})
    enough = " * ".join(f"({_figure(side + 'requests', phase)} >= bool {phase.min_requests})" for side in sides)
    return f"vector(({holds} + {unknown}) / ({enough}))"


def _can(names: frozenset[str], baseline: bool) -> bool:
    bare = {name.removeprefix(BASELINE) for name in names}
    return not bare & {*ANSWERS, *PAIRED} and (baseline or not any(name.startswith(BASELINE) for name in names))


def _figure(name: str, phase: AnalysisPhase) -> str:
    """One named figure as a scalar. What is of the phase so far looks back as far as the phase is long."""
    window = _window(phase.interval_s)
    digest = LIVE if name.startswith(BASELINE) else DIGEST
    bare = name.removeprefix(BASELINE)
    own = f'digest="{digest}"'
    requests = f"sum(increase(assay_requests_total{{{own}}}{window}))"
    if bare == "requests":
        return f"scalar({requests})"
    if bare in LATENCIES:
        latency, end = LATENCIES[bare]
        share = "0.95"
        if end:
            window = _window(phase.interval_s * phase.count)
            count = f"sum(increase(assay_{latency}_seconds_count{{{own}}}{window}))"
            sign, z = "-" if end == "low" else "+", NormalDist().inv_cdf(1 - P95_ALPHA / phase.count)
            share = f"scalar(0.95 {sign} {z * sqrt(0.95 * 0.05):.4f} / sqrt({count}))"
        buckets = f"sum by (le) (increase(assay_{latency}_seconds_bucket{{{own}}}{window}))"
        return f"scalar(1000 * histogram_quantile({share}, {buckets}))"
    part = {
        "error_rate": f'assay_requests_total{{{own},code=~"5.."}}',
        "empty_rate": f'assay_answers_total{{{own},kind="empty"}}',
        "truncated_rate": f'assay_answers_total{{{own},kind="truncated"}}',
    }[bare]
    return f"scalar((sum(increase({part}{window})) or vector(0)) / {requests})"


def _window(seconds: float) -> str:
    return f"[{max(1, round(seconds))}s]"


def _scalar(node: ast.AST, phase: AnalysisPhase) -> str:
    """The expression on scalars; truth is 1 and 0. rollout.condition has let nothing else through."""
    if isinstance(node, ast.Name):
        return _figure(node.id, phase)
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, ast.UnaryOp):
        inner = _scalar(node.operand, phase)
        return f"(1 - {inner})" if isinstance(node.op, ast.Not) else f"(-1 * {inner})"
    if isinstance(node, ast.BoolOp):
        parts = [_scalar(part, phase) for part in node.values]
        return f"({' * '.join(parts)})" if isinstance(node.op, ast.And) else f"(({' + '.join(parts)}) > bool 0)"
    if isinstance(node, ast.Compare):
        terms = [_scalar(part, phase) for part in (node.left, *node.comparators)]
        signs = [_SIGNS[type(sign)] for sign in node.ops]
        pairs = [f"({a} {sign} bool {b})" for a, sign, b in zip(terms, signs, terms[1:], strict=False)]
        return f"({' * '.join(pairs)})"
    if isinstance(node, ast.BinOp):
        return f"({_scalar(node.left, phase)} {_SIGNS[type(node.op)]} {_scalar(node.right, phase)})"
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    sign, (best, *rest) = ">=" if node.func.id == "max" else "<=", [_scalar(part, phase) for part in node.args]
    for one in rest:
        best = f"({best} * ({best} {sign} bool {one}) + {one} * (1 - ({best} {sign} bool {one})))"
    return best


_SIGNS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
