"""The sequential test for other things than right and wrong, and for a task alone: same error rates at every look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data import items
from drift.metrics import Comparison, Pair
from drift.records import Look, Metric
from drift.sequential import Design, paired

EXPECTED_SQUARE = 0.01  # of a difference; only speed hangs on it


def look(pairs: Sequence[Pair], gains: Sequence[float], margin: float, alpha: float, budget: int) -> Look:
    """The test of "worse by `margin` or more" on `gains` (one for each of `pairs`, in [-1, 1], worse is negative)."""
    clusters = items.clusters([one.item for one in pairs])
    means = [float(np.mean([gains[row] for row in rows])) for rows in clusters]
    design = Design(margin=margin, alpha=alpha, budget=max(budget, len(means)), expected_square=EXPECTED_SQUARE)
    return paired(means, design)


def rise(seen: Comparison, metric: Metric, rises: Sequence[float], margin_points: float) -> Metric:
    """`metric` with the mean of `rises` (variant minus original, each in [-1, 1]) in points, and its interval."""
    found = look(seen.pairs, [-one for one in rises], margin_points / 100, seen.alpha, seen.budget)
    return metric.model_copy(
        update={
            "value": -found.delta_points,
            "low": -found.high_points,
            "high": -found.low_points,
            "level": 1 - 2 * seen.alpha,
            "is_futile": found.is_futile,
        }
    )
