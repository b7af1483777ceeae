"""Perplexity of the original's own answers under both systems."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from drift import divergence
from drift.metrics import Comparison, MetricOptions
from drift.records import Metric

NAMES = ("perplexity", "perplexity_ratio")


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """Both perplexities, and the variant's over the original's with its interval."""
    items = divergence.scored(seen.scores)
    if not items:
        return []
    nll = np.array([item.nll_reference.sum() for item in items])
    excess = np.array([item.nll_variant.sum() for item in items]) - nll
    ratio = divergence.per_token(excess, items, seen.seed, math.exp)
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
