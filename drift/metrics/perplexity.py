"""Perplexity of the original's own answers, and of the user's text, under both systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from drift import divergence
from drift.divergence import TokenScores
from drift.metrics import Comparison, MetricOptions
from drift.records import Limit, Metric

OWN_NAMES = ("perplexity", "perplexity_ratio")
NAMES, OPTIONAL = divergence.names(OWN_NAMES)
LIMITS = divergence.limits({"perplexity_ratio": Limit(at_most=1.05)})


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """On the original's answers, and on the user's own text."""
    return divergence.of_both(seen, _measure)


def _measure(scores: Sequence[TokenScores], seed: int) -> list[Metric]:
    """Both perplexities, and the variant's over the original's with its interval."""
    items = divergence.scored(scores)
    if not items:
        return []
    nll = np.array([item.nll_reference.sum() for item in items])
    excess = np.array([item.nll_variant.sum() for item in items]) - nll
    ratio = divergence.per_token(excess, items, seed, math.exp)
    reference = math.exp(float(nll.sum()) / ratio.count)
    metric = partial(Metric, group=divergence.GROUP, unit="ratio", counted="tokens")
    return [
        metric(
            name="perplexity",
            label="perplexity",
            value=reference * ratio.value,
            reference=reference,
            count=ratio.count,
        ),
        metric(name="perplexity_ratio", label="perplexity ratio", **ratio.model_dump()),
    ]
