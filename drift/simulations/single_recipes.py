"""One recipe, right and wrong answers: each truth, held against a fixed sample with the same error rates.

That is a one-sided Tango score test whose size is planned, as a person would have to, for 1 % discordance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import norm

from drift.sequential import Design
from drift.simulations import Row
from drift.simulations.parts import SEED, play_changes

TITLE = "Single recipes: margin 0.5 points, alpha 5 %, budget 5,120 items, a look every 256"
DESIGN = Design(margin=0.005, alpha=0.05, budget=5120)
POWER, PLANNED_DISCORDANCE = 0.90, 0.01
# truth → shares of items that the variant loses and gains, limits
MIX: dict[str, tuple[float, float, dict[str, float], dict[str, float]]] = {
    "equal, 0.1 % differ": (0.0005, 0.0005, {"failed": 0.05}, {"passed": 0.99}),
    "equal, 0.5 % differ": (0.0025, 0.0025, {"failed": 0.05}, {"passed": 0.98}),
    "equal, 1 % differ": (0.0050, 0.0050, {"failed": 0.05}, {"passed": 0.90}),
    "at the margin, 1 % differ": (0.0075, 0.0025, {"passed": 0.05, "failed": 0.05}, {}),
    "2 points worse": (0.0250, 0.0050, {"passed": 0.005}, {"failed": 0.99}),
    "5 points worse": (0.0550, 0.0050, {"passed": 0.005}, {"failed": 0.99}),
}
# Where all that differs is lost there is hardly any overshoot: the bound of 5 % is met almost exactly.
BESIDE: dict[str, tuple[float, float, dict[str, float], dict[str, float]]] = {
    "at the margin, 0.5 % differ": (0.0050, 0.0, {"passed": 0.05, "failed": 0.05}, {}),
    "at the margin, 3 % differ": (0.0175, 0.0125, {"passed": 0.05, "failed": 0.05}, {}),
    "equal, 3 % differ": (0.0150, 0.0150, {"failed": 0.05}, {"passed": 0.40}),
    "1 point worse": (0.0125, 0.0025, {"passed": 0.05}, {"failed": 0.80}),
}


def measure(runs: int) -> list[Row]:
    rows = [
        play_changes(truth, DESIGN, runs, lost, gained, most, least)
        for truth, (lost, gained, most, least) in (MIX | BESIDE).items()
    ]
    items = fixed_items()
    fixed = {
        f"fixed sample, {truth}": fixed_pass_share(*MIX[truth][:2], items)
        for truth in ("equal, 1 % differ", "at the margin, 1 % differ")
    }
    return [*rows, *(Row(truth, 20_000, {"passed": share}, items, items) for truth, share in fixed.items())]


def mean_share(rows: list[Row]) -> float:
    """Items spent over those of the fixed sample, averaged over the truths of MIX."""
    return float(np.mean([(row.items_mean or 0.0) / fixed_items() for row in rows if row.truth in MIX]))


def fixed_items(design: Design = DESIGN) -> int:
    """Items of the one-sided Tango score test with error rate alpha at the margin and POWER when truly equal.

    Source: Liu, Hsueh, Hsieh & Chen, Statistics in Medicine 2002 (sample size by the restricted variance).
    """
    half = PLANNED_DISCORDANCE / 2
    at_margin = score_variance(half, half, -design.margin)
    needed = norm.ppf(1 - design.alpha) * math.sqrt(at_margin) + norm.ppf(POWER) * math.sqrt(PLANNED_DISCORDANCE)
    return math.ceil(float(needed / design.margin) ** 2)


def fixed_pass_share(lost: float, gained: float, items: int, design: Design = DESIGN, runs: int = 20_000) -> float:
    """How often the fixed sample of `items` passes."""
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(items, [lost, gained, 1 - lost - gained], size=runs)
    z = score_z(counts[:, 1], counts[:, 0], items, -design.margin)
    return float((z > norm.ppf(1 - design.alpha)).mean())


def score_variance(gained: Any, lost: Any, delta: float) -> Any:
    """Variance of one difference when its mean is held at `delta`, by restricted maximum likelihood (Tango, eq. 5).

    `gained` and `lost` are shares of the items (scalars or arrays of one shape). Source: Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 1998.
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
