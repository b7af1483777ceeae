"""KL divergence of the next-token distribution: sum over the vocabulary of p (log p - log q), p the original's."""

from __future__ import annotations

from functools import partial

import numpy as np

from drift import divergence
from drift.metrics import Comparison, MetricOptions
from drift.records import Metric

NAMES = ("kl_mean_nats", "kl_p99_nats", "kl_max_nats")


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """The mean over all tokens, with its interval where enough items carry it, and the tail."""
    items = divergence.scored(seen.scores)
    if not items:
        return []
    every = np.concatenate([item.kl for item in items])
    sums = [item.kl.sum() for item in items]
    mean = divergence.per_token(sums, items, seen.seed, lambda mean: max(mean, 0.0))
    known = mean.model_dump(include=None if divergence.carrying(sums) >= divergence.CARRIERS else {"value", "count"})
    metric = partial(Metric, group=divergence.GROUP, unit="nats", counted="tokens")
    p99, largest = float(np.quantile(every, 0.99)), float(every.max())
    return [
        metric(name="kl_mean_nats", label="KL divergence, mean", **known),
        metric(name="kl_p99_nats", label="KL, 99th percentile", value=p99, count=mean.count),
        metric(name="kl_max_nats", label="KL, largest", value=largest, count=mean.count),
    ]
