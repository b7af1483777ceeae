"""The metric contract. Each file here measures one kind of drift; its file name is a key of `evaluate.metrics`.

A metric module has
- `NAMES`: the names of the metrics that it gives;
- `measure(seen, options) -> list[Metric]`: their values, without limits; those with too little data are left out;
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

    limits: dict[str, Limit] = Field(default_factory=dict, description="by metric; each becomes a gate of `select`")


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

    `alpha` and `budget` (items) are of the sequential test, for metrics that hold a difference to a limit of its own;
    `max_tokens` is the longest possible answer.
    """

    pairs: Sequence[Pair] = ()
    scores: Sequence[TokenScores] = field(default_factory=tuple)
    text_scores: Sequence[TokenScores] = field(default_factory=tuple)
    seed: int = 0
    alpha: float = 0.05
    budget: int = 0
    max_tokens: int = 1


Chosen = Mapping[str, tuple[ModuleType, MetricOptions]]


def choose(metrics: Mapping[str, Mapping[str, Any]]) -> Chosen:
    """The metric files of `evaluate.metrics` with their checked options; ConfigError names the key that is wrong."""
    chosen = {}
    for name, given in metrics.items():
        module, key = plugins.load("drift.metrics", name), f"params.yaml: evaluate.metrics.{name}"
        options = plugins.options(module, given, key, MetricOptions)
        if unknown := options.limits.keys() - set(module.NAMES):
            raise ConfigError(
                f"{key}.limits: no metric {', '.join(sorted(unknown))}; known: {', '.join(module.NAMES)}"
            )
        chosen[name] = module, options
    return chosen


def measure(chosen: Chosen, seen: Comparison) -> list[Metric]:
    """Every metric of `chosen` with its limit, in order; one with too little data is there without a value."""
    found = []
    for name, (module, options) in chosen.items():
        measured = {one.name: one for one in module.measure(seen, options)}
        for key in module.NAMES:
            empty = Metric(name=key, label=key, group=name, unit="", value=None, count=0, counted="items")
            found.append(measured.get(key, empty).model_copy(update={"limit": options.limits.get(key)}))
    return found
