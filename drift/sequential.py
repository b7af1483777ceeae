"""Is the variant worse by more than the margin? A test that may be looked at after any item, as often as one likes.

Item i gives d_i = (variant right) - (reference right), one of -1, 0, 1. Against the hypothesis "the mean is at most
m" bet a share c_i of the wealth on item i, chosen before seeing it:

    K(m) = prod_i (1 + c_i (d_i - m) / (1 + m)),    0 <= c_i < 1.

If the mean is at most m, K(m) is a nonnegative supermartingale, so it ever reaches 1/alpha with probability at most
alpha (Ville). K(m) falls as m grows: the m that were ever refuted are an interval [-1, low], and (low, high), with
`high` from the mirror image on -d, is a confidence sequence. `pass` is low > -margin, `fail` is high < -margin: the
verdict and the interval cannot disagree. No normal approximation and no assumption about how often answers differ.
Any stopping rule keeps the error rates, futility too: the guarantee holds for all looks together.

The share: a mixture of three fixed bets, each fastest for another discordance (the weights follow their wealth),
raised towards the deadline to what closing the gap within the item budget takes. Only speed hangs on it.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024, sections 3-4;
Voracek & Orabona, "STaR-Bets", 2025 (bets that aim at the deadline); Browne, "Reaching goals by a deadline",
Adv. Appl. Prob. 1999, theorem 3.1 (the best chance any bettor has to get there, used for futility).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from core.errors import DataError
from core.records import Verdict
from drift.records import Look

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

SHARES = np.array([[0.15], [0.40], [0.95]])  # at a margin of 0.5 points best for about 3 %, 1 % and 0.1 % discordance
WEIGHTS = np.array([[0.10], [0.65], [0.25]])
MAX_SHARE = 0.97  # one item never takes more than this share of the wealth
PRIOR_DISCORDANCE, PRIOR_ITEMS = 0.01, 1000.0  # the discordance believed before any item, and what that belief weighs
FUTILE_BELOW = 0.20  # stop when the chance of `pass` and that of `fail` within the budget are both below this


@dataclass(frozen=True)
class Design:
    """What the test is asked: `margin` as a difference of accuracy (0.005 is half a point), `budget` in items."""

    margin: float
    alpha: float
    budget: int

    @property
    def target(self) -> float:
        """Log wealth that refutes."""
        return math.log(1 / self.alpha)


class Bettor:
    """One side of the test over `runs` independent runs at once: bets that the mean of e is above `mean`."""

    def __init__(self, design: Design, mean: float, runs: int = 1) -> None:
        self.design, self.mean, self.items = design, mean, 0
        self.log_wealth: Floats = np.zeros(runs)
        self.peak: Floats = np.zeros(runs)
        self.total: Floats = np.zeros(runs)
        self.differing: Floats = np.zeros(runs)
        self._log_parts: Floats = np.log(WEIGHTS) + np.zeros(runs)
        self._log_steps = {e: np.log1p(SHARES * (e - mean) / (1 + mean)) for e in (-1, 0, 1)}

    @property
    def discordance(self) -> Floats:
        """Share of items that differ, shrunk to the prior; shape (runs,)."""
        return (PRIOR_DISCORDANCE * PRIOR_ITEMS + self.differing) / (PRIOR_ITEMS + self.items)

    def step(self, e: NDArray[Any]) -> Floats:
        """Bet on one item of every run, then see it. `e`: shape (runs,), values -1, 0, 1. Returns the shares bet."""
        share = self._share()
        self.log_wealth = self.log_wealth + np.log1p(share * (e - self.mean) / (1 + self.mean))
        self.peak = np.maximum(self.peak, self.log_wealth)
        steps = self._log_steps
        self._log_parts = self._log_parts + np.where(e == 0, steps[0], np.where(e > 0, steps[1], steps[-1]))
        self.total, self.differing, self.items = self.total + e, self.differing + (e != 0), self.items + 1
        return share

    def chance(self, mean: Floats) -> Floats:
        """Browne's bound on the chance to refute within the budget if e has this mean from here on; shape (runs,)."""
        left = max(self.design.budget - self.items, 0)
        wealth = np.exp(np.minimum(self.log_wealth - self.design.target, 0.0))
        spread = np.sqrt(np.maximum(self.discordance, np.abs(mean)))
        best = ndtr(ndtri(wealth) + np.maximum(mean - self.mean, 0.0) * math.sqrt(left) / spread)
        return np.array(np.where(self.peak >= self.design.target, 1.0, best), dtype=np.float64)

    def _share(self) -> Floats:
        parts = np.exp(self._log_parts - self._log_parts.max(axis=0))
        share: Floats = (parts * SHARES).sum(axis=0) / parts.sum(axis=0)
        left = self.design.budget - self.items
        if left > 0:
            gap = np.maximum(self.design.target - self.log_wealth, 0.0)
            share = np.maximum(share, np.sqrt(2 * gap / (self.discordance * left)))
        return np.minimum(share, MAX_SHARE)


class NonInferiority:
    """Both sides over `runs` runs. `step` takes d of shape (runs,), the answers are boolean of the same shape."""

    def __init__(self, design: Design, runs: int = 1) -> None:
        self.design = design
        self.passing = Bettor(design, -design.margin, runs)
        self.failing = Bettor(design, design.margin, runs)

    def step(self, d: NDArray[Any]) -> tuple[Floats, Floats]:
        return self.passing.step(d), self.failing.step(-d)

    def failed(self) -> Bools:
        return np.asarray(self.failing.peak >= self.design.target)

    def passed(self) -> Bools:
        """Contradictory evidence (both sides refuted) is not a pass."""
        return np.asarray(self.passing.peak >= self.design.target) & ~self.failed()

    def is_futile(self) -> Bools:
        """Neither side likely: `pass` judged as if truly equal from here on, `fail` as if the loss were a standard
        error larger than it looks."""
        items = max(self.failing.items, 1)
        loss = self.failing.total / items + np.sqrt(self.failing.discordance / items)
        out_of_reach = (self.passing.chance(np.zeros_like(loss)) < FUTILE_BELOW) & (
            self.failing.chance(loss) < FUTILE_BELOW
        )
        return np.asarray(out_of_reach)


class State:
    """The test of one variant, fed chunk by chunk. It depends on the sequence alone, so resuming is replaying."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self._test = NonInferiority(design)
        self._d: list[float] = []
        self._shares: tuple[list[float], list[float]] = ([], [])

    def update(self, differences: ArrayLike) -> Look:
        """Take the next differences, in order (one dimension), and look. Raises DataError for other than -1, 0, 1."""
        incoming = np.asarray(differences, dtype=np.float64)
        if not np.isin(incoming, (-1, 0, 1)).all():
            raise DataError(
                "a paired difference is -1, 0 or 1: score both systems right (1) or wrong (0) and subtract"
            )
        for d in incoming:
            shares = self._test.step(np.array([d]))
            self._d.append(float(d))
            for kept, share in zip(self._shares, shares, strict=True):
                kept.append(float(share[0]))
        return self.look()

    def look(self) -> Look:
        """What is known now. Looking costs nothing in error rate."""
        margin, d = self.design.margin, np.array(self._d)
        low = _bound(d, np.array(self._shares[0]), self._test.passing)
        high = -_bound(-d, np.array(self._shares[1]), self._test.failing)
        verdict: Verdict = "fail" if high < -margin else "pass" if low > -margin else "inconclusive"
        return Look(
            items=len(d),
            delta_points=100 * float(d.mean()) if len(d) else 0.0,
            low_points=100 * low,
            high_points=100 * high,
            verdict=verdict,
            is_futile=verdict == "inconclusive" and bool(self._test.is_futile()[0]),
            items_to_settle=None if verdict != "inconclusive" else self._items_to_settle(),
        )

    def _items_to_settle(self) -> int | None:
        """Items so far, and the missing log wealth over the best growth at the rates seen (with two pseudo-items)."""
        items = len(self._d) + 2
        lost, gained = ((self._d.count(value) + 1 / 2) / items for value in (-1.0, 1.0))
        waits = []
        for side, down, up in ((self._test.passing, lost, gained), (self._test.failing, gained, lost)):
            rates = {-1: down, 0: 1 - down - up, 1: up}
            growth = sum(rate * np.log1p(SHARES * (e - side.mean) / (1 + side.mean)) for e, rate in rates.items())
            fastest = float(np.max(growth))
            if fastest > 0:
                waits.append((self.design.target - float(side.log_wealth[0])) / fastest)
        return len(self._d) + math.ceil(min(waits)) if waits else None


def _bound(e: Floats, shares: Floats, side: Bettor) -> float:
    """Largest mean of e that was ever refuted; -1 when none was."""
    target = side.design.target

    def excess(mean: float) -> float:
        return float(np.cumsum(np.log1p(shares * (e - mean) / (1 + mean))).max(initial=0.0)) - target

    lowest, highest = -1 + 1e-9, 1.0
    if excess(lowest) < 0:
        return -1.0
    root = float(brentq(excess, lowest, highest, xtol=1e-10))
    if side.peak[0] >= target:  # the root is found to a tolerance: never let that contradict what was refuted
        return max(root, math.nextafter(side.mean, 1.0))
    return min(root, side.mean)
