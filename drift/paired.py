"""The sequential test for other things than right and wrong, and for a task alone: same error rates at every look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from data import items
from drift.metrics import Comparison, Pair
from drift.records import Look, Metric
from drift.sequential import Design, State

# The mean of d^2 that a margin of whole points is planned for. 0.01 would bet all within a task's few hundred items:
# seven tasks equal with 1 % differing then all pass in 70 % of the runs, with this in 99 % (drift/simulations).
EXPECTED_SQUARE = 0.05
KEPT = 16  # tests of one design (of the rises, say) that go on at the next look
LARGEST_MARGIN = 0.99  # of a difference in [-1, 1]; beyond it there is nothing to test
_kept: defaultdict[Design, list[tuple[list[float], State]]] = defaultdict(list)


def look(pairs: Sequence[Pair], gains: Sequence[float], margin: float, alpha: float, budget: int) -> Look:
    """The test of "worse by `margin` or more" on `gains` (one for each of `pairs`, in [-1, 1], worse is negative)."""
    clusters = items.clusters([one.item for one in pairs])
    means = [float(np.mean([gains[row] for row in rows])) for rows in clusters]
    margin = min(max(margin, -LARGEST_MARGIN), LARGEST_MARGIN)
    design = Design(margin=margin, alpha=alpha, budget=max(budget, len(means)), expected_square=EXPECTED_SQUARE)
    return _look(means, design)


def _look(means: list[float], design: Design) -> Look:
    """The test on all of `means`, going on from the last look at the same ones: it takes some 0.1 ms an item, and
    every look is given all items. Depends on the arguments alone."""
    known = _kept[design]
    found = next((one for one in known if one[0] == means[: len(one[0])]), None)
    if found is None:
        found = [], State(design)
        _kept[design] = [*known[-KEPT:], found]
    taken, state = found
    new = means[len(taken) :]
    taken.extend(new)
    return state.update(new)


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
