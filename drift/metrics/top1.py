"""How often both systems find the same next token likeliest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drift import divergence
from drift.divergence import TokenScores
from drift.metrics import Comparison, MetricOptions
from drift.proportion import wilson
from drift.records import Limit, Metric

OWN_NAMES = ("top1_agreement",)
NAMES, OPTIONAL = divergence.names(OWN_NAMES)
LIMITS = divergence.limits({"top1_agreement": Limit(at_least=0.90)})


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """On the original's answers, and on the user's own text."""
    return divergence.of_both(seen, _measure)


def _measure(scores: Sequence[TokenScores], seed: int) -> list[Metric]:
    """The share with Wilson's interval at the effective sample size that the spread between items leaves (tokens over
    the design effect, Kish 1965); where all agree the items are what can be counted on, so that there is a width."""
    scored = divergence.scored(scores)
    if not scored:
        return []
    tokens = np.array([len(item.kl) for item in scored], dtype=np.float64)
    agreed = np.array([item.agrees.sum() for item in scored])
    items, count, share = len(tokens), float(tokens.sum()), float(agreed.sum() / tokens.sum())
    effective = float(items)
    if 0 < share < 1:
        variance = float(((agreed - share * tokens) ** 2).sum()) / count**2 * items / (items - 1)
        effective = min(max(share * (1 - share) / max(variance, 1e-300), 1.0), count)
    found = wilson(share * effective, effective, divergence.LEVEL)
    return [
        Metric(
            name="top1_agreement",
            label="same top token",
            group=divergence.GROUP,
            unit="share",
            **found.model_dump(exclude={"value", "count"}),
            value=share,
            count=int(count),
            counted="tokens",
        )
    ]
