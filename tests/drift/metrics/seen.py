"""What a metric is given, made up for the tests."""

from __future__ import annotations

from collections.abc import Sequence

from data.records import Item
from drift.divergence import TokenScores
from drift.metrics import Answer, Comparison, MetricOptions, Pair, Side, kl, perplexity, top1
from drift.records import Metric

ITEM = Item(id="1", suite="s", task="t", question="q", answer="a")


def answers(reference: Sequence[Answer], variant: Sequence[Answer]) -> Comparison:
    return Comparison([pair(*both) for both in zip(reference, variant, strict=True)])


def pair(reference: Answer, variant: Answer, right: tuple[bool, bool] = (True, True)) -> Pair:
    return Pair(ITEM, Side((reference,), right[:1]), Side((variant,), right[1:]))


def teacher_forced(scores: Sequence[TokenScores], seed: int) -> dict[str, Metric]:
    """Every metric that rests on token scores, by name."""
    seen = Comparison(scores=scores, seed=seed)
    return {one.name: one for module in (kl, top1, perplexity) for one in module.measure(seen, MetricOptions())}
