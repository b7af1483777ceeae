"""The metric contract. Each file here measures one kind of drift; its file name is a key of `evaluate.metrics`.

A metric module has
- `NAMES`: the names of the metrics that it gives; one that `measure` leaves out has too little data;
- `measure(seen, options) -> list[Metric]`: their values, without limits. `options.limits` are those in force;
- `OPTIONAL`, if there are some: names not there at all where nothing gives them (no text of the user's, say);
- `PREFIX`, if names come from the data: how they begin;
- `LIMITS`, if there are some: limits by name (or by the prefix) that hold unless params say otherwise;
- `class Options(MetricOptions)`, where it has settings of its own.

That is all: report, summary, MLflow and gates take every metric from the evaluation's record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from core import plugins
from core.errors import ConfigError
from core.params import Section
from data.records import Item
from drift.records import Limit, Metric

if TYPE_CHECKING:
    from drift.divergence import TokenScores


class MetricOptions(Section):
    """What every metric file takes."""

    limits: dict[str, Limit | None] = Field(
        default_factory=dict,
        description="by metric; each becomes a gate of `select`; over what the file itself has; null: no gate",
    )


@dataclass(frozen=True)
class Answer:
    """One answer as generated: new token ids without the end token, their text, and whether the end token came."""

    token_ids: tuple[int, ...]
    text: str
    finished: bool


@dataclass(frozen=True)
class Side:
    """What one system answered to an item, and what is right of it: one answer if greedy, as many as were sampled."""

    answers: tuple[Answer, ...]
    right: tuple[bool, ...]

    @property
    def share_right(self) -> float:
        return sum(self.right) / len(self.right)


@dataclass(frozen=True)
class Pair:
    """One item with the answers of both systems, as many of the one as of the other."""

    item: Item
    reference: Side
    variant: Side

    @property
    def difference(self) -> float:
        """In [-1, 1]: what the test takes. Answers to one item are no items: only their mean is."""
        return self.variant.share_right - self.reference.share_right


@dataclass(frozen=True)
class Comparison:
    """What was seen: every pair that was looked at, in order, and token scores of the reference's first answers (one
    an item) and of the user's own texts (one a passage).

    `alpha` and `budget` are of the sequential test, for metrics that hold a difference to a limit of its own: the
    budget in clusters of items, in all and of each task. `max_tokens` is the longest possible answer.
    """

    pairs: Sequence[Pair] = ()
    scores: Sequence[TokenScores] = field(default_factory=tuple)
    text_scores: Sequence[TokenScores] = field(default_factory=tuple)
    seed: int = 0
    alpha: float = 0.05
    budget: int = 0
    tasks: Mapping[str, int] = field(default_factory=dict)
    max_tokens: int = 1

    @property
    def sides(self) -> tuple[list[Side], list[Side]]:
        """What the original answered to each item, and what the variant did."""
        return [pair.reference for pair in self.pairs], [pair.variant for pair in self.pairs]


Chosen = Mapping[str, tuple[ModuleType, MetricOptions]]


def choose(
    metrics: Mapping[str, Mapping[str, Any]], recipe_limits: Mapping[str, Mapping[str, float] | None] | None = None
) -> Chosen:
    """The metric files of `evaluate.metrics` with their checked options and the limits in force: the file's own, over
    them `evaluate.metrics`', over them the recipe's.

    ConfigError names the key that is wrong.
    """
    chosen: dict[str, tuple[ModuleType, MetricOptions]] = {}
    left = dict(recipe_limits or {})
    for name, given in metrics.items():
        module, key = plugins.load("drift.metrics", name), f"params.yaml: evaluate.metrics.{name}"
        options = plugins.options(module, given, key, MetricOptions)
        if unknown := [one for one in options.limits if not _is_of(module, one)]:
            raise ConfigError(f"{key}.limits: no metric {', '.join(sorted(unknown))}; known: {_known(module)}")
        own = {one: left.pop(one) for one in list(left) if _is_of(module, one)}
        recipes = plugins.options(module, {"limits": own}, "params.yaml: a recipe's limits", MetricOptions).limits
        limits = getattr(module, "LIMITS", {}) | options.limits | recipes
        chosen[name] = module, options.model_copy(update={"limits": limits})
    if left:
        known = ", ".join(_known(module) for module, _ in chosen.values())
        raise ConfigError(f"params.yaml: a recipe's limits: no metric {', '.join(sorted(left))}; known: {known}")
    return chosen


def measure(chosen: Chosen, seen: Comparison) -> list[Metric]:
    """Every metric of `chosen` with its limit, in order; one with too little data is there without a value."""
    found = []
    for name, (module, options) in chosen.items():
        measured = {one.name: one for one in module.measure(seen, options)}
        prefix, optional = getattr(module, "PREFIX", ""), getattr(module, "OPTIONAL", ())
        for key in [*module.NAMES, *(one for one in measured if one not in module.NAMES)]:
            if key in measured or key not in optional:
                empty = Metric(name=key, label=key, group=name, unit="", value=None, count=0, counted="items")
                limit = options.limits.get(key, options.limits.get(prefix))
                found.append(measured.get(key, empty).model_copy(update={"limit": limit}))
    return found


def _is_of(module: ModuleType, metric: str) -> bool:
    prefix: str = getattr(module, "PREFIX", "")
    return metric in module.NAMES or (bool(prefix) and metric.startswith(prefix))


def _known(module: ModuleType) -> str:
    prefix = getattr(module, "PREFIX", "")
    return ", ".join([*module.NAMES, *([f"{prefix}…"] if prefix else [])])
