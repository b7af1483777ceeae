"""Two systems on the same items: flips, the exact McNemar test, and Tango's score interval for a fixed sample.

`gained` counts items that only the variant answers right, `lost` those that only the reference does; the difference
of accuracy is (gained - lost) / items. The interval, `score_z` and McNemar's p presume that `items` was fixed
beforehand: after sequential stopping p is descriptive (simulated: below 0.05 for up to 7 % of equal variants), and
the verdict is drift.sequential's.

Sources: McNemar, Psychometrika 1947; Tango, "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design", Statistics in Medicine 1998; Newcombe's comparison of intervals, ibid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from core.records import Interval
from drift.records import Flips


def differences(reference_right: ArrayLike, variant_right: ArrayLike) -> NDArray[np.int8]:
    """(variant right) - (reference right) per item: int8 of shape (items,), values -1, 0, 1."""
    variant, reference = np.asarray(variant_right, dtype=np.int8), np.asarray(reference_right, dtype=np.int8)
    return np.asarray(variant - reference)


def flips(reference_right: ArrayLike, variant_right: ArrayLike) -> Flips:
    """The paired 2x2 table with McNemar's exact two-sided p: is one direction of flips more frequent?"""
    reference, variant = np.asarray(reference_right, dtype=bool), np.asarray(variant_right, dtype=bool)
    lost, gained = int((reference & ~variant).sum()), int((~reference & variant).sum())
    return Flips(
        both_right=int((reference & variant).sum()),
        both_wrong=int((~reference & ~variant).sum()),
        lost=lost,
        gained=gained,
        mcnemar_p=mcnemar_p(lost, gained),
    )


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided p of `lost` against `gained` under equal rates; 1 when nothing flipped."""
    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0


def score_variance(gained: Any, lost: Any, delta: float) -> Any:
    """Variance of one difference when its mean is held at `delta`, by restricted maximum likelihood (Tango, eq. 5).

    `gained` and `lost` are shares of the items (scalars or arrays of one shape).
    """
    b = -gained - lost + (2 - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    lost_at_delta = (np.sqrt(b * b - 8 * c) - b) / 4
    return np.maximum(2 * lost_at_delta + delta * (1 - delta), 0.0)


def score_z(gained: Any, lost: Any, items: int, delta: float) -> Any:
    """Tango's z for "the mean difference is `delta`"; large means it is higher. Counts, scalars or arrays."""
    variance = score_variance(gained / items, lost / items, delta)
    distance = (gained - lost) / items - delta
    return np.where(variance > 0, distance * np.sqrt(items) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)


def score_interval(gained: int, lost: int, items: int, level: float = 0.95) -> Interval:
    """Tango's score interval of the mean difference, in [-1, 1], for a sample whose size was fixed beforehand."""
    z, seen = float(norm.ppf((1 + level) / 2)), (gained - lost) / items

    def excess(delta: float, sign: float) -> float:
        return sign * float(score_z(gained, lost, items, delta)) - z

    edge = 1 - 1e-12
    low = brentq(excess, -edge, seen, args=(1.0,)) if excess(-edge, 1.0) > 0 > excess(seen, 1.0) else -1.0
    high = brentq(excess, seen, edge, args=(-1.0,)) if excess(edge, -1.0) > 0 > excess(seen, -1.0) else 1.0
    return Interval(value=seen, low=float(low), high=float(high), level=level, count=items)
