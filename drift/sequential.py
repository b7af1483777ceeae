"""Is the variant worse by more than the margin? A test that may be looked at after any item, as often as one likes.

Item i gives d_i = (score of the variant) - (score of the reference), any number in [-1, 1]: right or wrong gives
-1, 0 or 1; a mean over k samples of one question, or over a cluster of questions, is one item too. Against the
hypothesis "the mean is at most m" bet a share c_i of the wealth on item i, chosen before seeing it:

    K(m) = prod_i (1 + c_i (d_i - m) / (1 + m)),    0 <= c_i < 1.

If the mean is at most m, K(m) is a nonnegative supermartingale, so it ever reaches 1/alpha with probability at most
alpha (Ville). K(m) falls as m grows: the m that were ever refuted are an interval [-1, low], and (low, high), with
`high` from the mirror image on -d, is a confidence sequence. `pass` is low > -margin, `fail` is high < -margin: the
verdict and the interval cannot disagree. No normal approximation and no assumption about how often answers differ.
Any stopping rule keeps the error rates, futility too: the guarantee holds for all looks together.

The share: a mixture of three fixed bets, each fastest for another spread (the weights follow their wealth), raised
towards the deadline to what closing the gap within the item budget takes. Only speed hangs on it.

A finite benchmark of N items that is read in random order: if its mean is m, the next item's mean is
(N m - sum so far) / (N - items so far), and that takes the place of m above. An m that the rest cannot reach any more
is refuted; once all N are read the interval is a point.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024, sections 3-4;
the same, "Confidence sequences for sampling without replacement", NeurIPS 2020 (finite benchmarks);
Voracek & Orabona, "STaR-Bets", 2025 (bets that aim at the deadline); Browne, "Reaching goals by a deadline",
Adv. Appl. Prob. 1999, theorem 3.1 (the best chance any bettor has to get there, used for futility and forecasts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
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
WIDE = 0.02  # above this mean of d^2 the three shares shrink in proportion, unless d leans to one side
MAX_SHARE = 0.97  # one item never takes more than this share of the wealth
PRIOR_SQUARES = 10.0  # the sum of d^2 that the design's expectation weighs
CAUTION = 1.25  # standard errors by which the mean of d^2 must be above what was expected to be taken as it is
FUTILE_BELOW = 0.20  # stop when the chance of `pass` and that of `fail` within the budget are both below this
# Of `items_to_settle`: share of the runs that it is meant for, of Browne's bound that the test reaches (fitted by
# `python -m drift.simulate --only items_to_settle`), standard errors within which the difference sits on the margin.
SETTLED, EFFICIENCY, ON_MARGIN = 0.90, 0.80, 0.25
ROUNDING = 1e-9  # of a sum of differences


@dataclass(frozen=True, kw_only=True)
class Design:
    """What the test is asked.

    `margin` is a difference of scores (0.005 is half a point; 0 is allowed), `budget` counts items. `population`: the
    target is a finite benchmark of so many items, read in random order without replacement; None: items like these.
    `earlier_budgets`, ascending: what the budget was before it was raised. The bets up to each aim at it, so that the
    wealth of the first looks goes on. `earlier_wealth` in (0, 1]: what earlier attempts at the same question (another
    seed, another suite) left of the passing side's wealth: what the last one began with times exp(its log_wealth), at
    most 1. A new attempt goes on with what they lost. `expected_square`: the mean of d^2 to expect; only speed hangs
    on it. For right and wrong it is the share of answers that change, for means over k sampled answers about 0.2 / k.
    Raises DataError for values that make no design.
    """

    margin: float
    alpha: float
    budget: int
    population: int | None = None
    earlier_budgets: tuple[int, ...] = ()
    earlier_wealth: float = 1.0
    expected_square: float = 0.01

    def __post_init__(self) -> None:
        budgets = (0, *self.earlier_budgets, self.budget)
        if self.earlier_budgets and not all(before < after for before, after in pairwise(budgets)):
            raise DataError(f"budgets {list(budgets[1:])} do not ascend: each raise is to more items than the last")
        if not 0 < self.earlier_wealth <= 1:
            raise DataError(f"earlier_wealth is {self.earlier_wealth}; it is above 0 and at most 1")

    @property
    def pass_target(self) -> float:
        """Log wealth of the passing side that refutes "worse by the margin or more"."""
        return math.log(1 / (self.alpha * self.earlier_wealth))

    @property
    def fail_target(self) -> float:
        """Log wealth of the failing side that refutes "worse by the margin at most"."""
        return math.log(1 / self.alpha)

    def items_left(self, items: int) -> int:
        """Items from `items` to the budget that was in force there."""
        return max(next((one for one in self.earlier_budgets if items < one), self.budget) - items, 0)


class Bettor:
    """One side of the test over `runs` independent runs at once: bets that the mean of e is above `mean`.

    `target` is the log wealth that refutes, one for all or of shape (runs,).
    """

    def __init__(self, design: Design, mean: float, target: float | Floats, runs: int = 1) -> None:
        self.design, self.mean, self.target, self.items = design, mean, target, 0
        self.log_wealth: Floats = np.zeros(runs)
        self.peak: Floats = np.zeros(runs)
        self.total: Floats = np.zeros(runs)
        self.squares: Floats = np.zeros(runs)
        self._fourths: Floats = np.zeros(runs)
        self._log_parts: Floats = np.log(WEIGHTS) + np.zeros(runs)

    @property
    def moment(self) -> Floats:
        """Mean of e^2, for right and wrong the discordance; shape (runs,).

        What was expected, mixed with what was seen, until that is clearly above.
        """
        believed = (PRIOR_SQUARES + self.squares) / (PRIOR_SQUARES / self.design.expected_square + self.items)
        clearly = self.squares - CAUTION * np.sqrt(self._fourths) > believed * self.items
        return np.where(clearly, self.squares / max(self.items, 1), believed)

    def step(self, e: NDArray[Any]) -> Floats:
        """Bet on one item of every run, then see it. `e`: shape (runs,), in [-1, 1]. Returns the shares bet."""
        moment = self.moment
        # Where e is far above the mean for certain, a wide spread is no reason to bet less.
        ahead = self.total / max(self.items, 1) - self.mean - np.sqrt(moment / max(self.items, 1))
        scale = np.minimum(np.maximum(ahead, WIDE) / moment, 1.0)
        share = self._share(scale, moment)
        won = gain(e, self.mean, self.total, self.items, self.design.population)
        self.log_wealth = self.log_wealth + np.log1p(share * won)
        self._log_parts = self._log_parts + np.log1p(SHARES * scale * won)
        square = e * e
        self.squares, self._fourths = self.squares + square, self._fourths + square * square
        self.total, self.items = self.total + e, self.items + 1
        if self.design.population is not None:
            impossible = _lowest_mean(self.total, self.items, self.design.population) > self.mean
            self.log_wealth = np.where(impossible, np.maximum(self.log_wealth, self.target), self.log_wealth)
        self.peak = np.maximum(self.peak, self.log_wealth)
        return share

    def chance(self, mean: Floats) -> Floats:
        """Browne's bound on the chance to refute within the budget if e has this mean from here on; shape (runs,)."""
        left = max(self.design.budget - self.items, 0)
        wealth = np.exp(np.minimum(self.log_wealth - self.target, 0.0))
        spread = np.sqrt(np.maximum(self.moment, np.abs(mean)))
        best = ndtr(ndtri(wealth) + np.maximum(mean - self.mean, 0.0) * math.sqrt(left) / spread)
        return np.array(np.where(self.peak >= self.target, 1.0, best), dtype=np.float64)

    def _share(self, scale: Floats, moment: Floats) -> Floats:
        parts = np.exp(self._log_parts - self._log_parts.max(axis=0))
        share: Floats = scale * (parts * SHARES).sum(axis=0) / parts.sum(axis=0)
        left = self.design.items_left(self.items)
        if left > 0:
            gap = np.maximum(self.target - self.log_wealth, 0.0)
            share = np.maximum(share, np.sqrt(2 * gap / (moment * left)))
        return np.minimum(share, MAX_SHARE)


class NonInferiority:
    """Both sides over `runs` runs. `step` takes d of shape (runs,), the answers are boolean of the same shape.

    `earlier_wealth`, shape (runs,), takes the place of the design's where the runs differ in it.
    """

    def __init__(self, design: Design, runs: int = 1, earlier_wealth: Floats | None = None) -> None:
        self.design = design
        target = design.pass_target if earlier_wealth is None else -np.log(design.alpha * earlier_wealth)
        self.passing = Bettor(design, -design.margin, target, runs)
        self.failing = Bettor(design, design.margin, design.fail_target, runs)

    def step(self, d: NDArray[Any]) -> tuple[Floats, Floats]:
        return self.passing.step(d), self.failing.step(-d)

    def failed(self) -> Bools:
        return np.asarray(self.failing.peak >= self.failing.target)

    def passed(self) -> Bools:
        """Contradictory evidence (both sides refuted) is not a pass."""
        return np.asarray(self.passing.peak >= self.passing.target) & ~self.failed()

    def is_futile(self) -> Bools:
        """Neither side likely: `pass` judged as if truly equal from here on, `fail` as if the loss were a standard
        error larger than it looks. A benchmark that will be read to its end is never futile."""
        if self.design.budget >= (self.design.population or math.inf):
            return np.zeros(self.passing.total.shape, bool)
        items = max(self.failing.items, 1)
        loss = self.failing.total / items + np.sqrt(self.failing.moment / items)
        out_of_reach = (self.passing.chance(np.zeros_like(loss)) < FUTILE_BELOW) & (
            self.failing.chance(loss) < FUTILE_BELOW
        )
        return np.asarray(out_of_reach)

    def items_to_settle(self) -> Floats:
        """Items in all after which the test is settled in about 90 % of the cases if d goes on with the mean and the
        spread seen so far, by Browne's bound; infinite where the mean seen is on the margin. Shape (runs,)."""
        items = self.passing.items
        needed = np.full(self.passing.total.shape, np.inf)
        for side in (self.passing, self.failing):
            moment = (side.squares + 1) / (items + 2)  # no spread seen is not no spread
            distance = side.total / max(items, 1) - side.mean
            wealth = np.exp(np.minimum(side.log_wealth - side.target, -ROUNDING))
            with np.errstate(divide="ignore", over="ignore"):
                left = (ndtri(SETTLED) - ndtri(wealth)) ** 2 * moment / (EFFICIENCY * distance**2)
            clear = distance > ON_MARGIN * np.sqrt(moment / max(items, 1))
            needed = np.where(clear, np.minimum(needed, items + left), needed)
        population = self.design.population or math.inf
        return np.minimum(needed, population) if items < population else np.full_like(needed, np.inf)


class State:
    """The test of one variant, fed chunk by chunk. It depends on the sequence alone, so resuming is replaying."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self._test = NonInferiority(design)
        self._d: list[float] = []
        self._shares: tuple[list[float], list[float]] = ([], [])

    def update(self, differences: ArrayLike) -> Look:
        """Take the next differences, in order (one dimension, each in [-1, 1]), and look.

        Raises DataError for a value outside, for NaN, and for more items than the design's population.
        """
        incoming = np.asarray(differences, dtype=np.float64)
        if not (np.abs(incoming) <= 1).all():
            raise DataError(
                "a paired difference is in [-1, 1]: score both systems in [0, 1] and subtract; found "
                f"{incoming[~(np.abs(incoming) <= 1)][0]}"
            )
        population = self.design.population
        if population is not None and len(self._d) + len(incoming) > population:
            raise DataError(f"more than the {population:,} items of the benchmark: an item was read twice")
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
        settle = float(self._test.items_to_settle()[0])
        return Look(
            items=len(d),
            delta_points=100 * float(d.mean()) if len(d) else 0.0,
            low_points=100 * low,
            high_points=100 * high,
            verdict=verdict,
            is_futile=verdict == "inconclusive" and bool(self._test.is_futile()[0]),
            items_to_settle=math.ceil(settle) if verdict == "inconclusive" and math.isfinite(settle) else None,
            log_wealth=float(self._test.passing.log_wealth[0]),
        )


def gain(e: Any, mean: Any, total: Any, items: Any, population: int | None) -> Any:
    """What a bet of the whole wealth wins on e against `mean`: -1 at worst. `total` is the sum of the `items` before;
    arrays of one shape, or numbers."""
    expected = mean if population is None else (population * mean - total) / (population - items)
    return (e - expected) / np.maximum(1 + expected, ROUNDING)


def _lowest_mean(total: Any, items: Any, population: int) -> Any:
    """The smallest mean that a finite benchmark can still have: all of the rest is lost."""
    return (total - (population - items) - ROUNDING) / population


def _bound(e: Floats, shares: Floats, side: Bettor) -> float:
    """Largest mean of e that was ever refuted; -1 when none was."""
    population, items, before = side.design.population, np.arange(len(e)), np.cumsum(e) - e
    lowest = -1.0 if population is None else max(float(_lowest_mean(side.total[0], len(e), population)), -1.0)

    def excess(mean: float) -> float:
        won = gain(e, mean, before, items, population)
        return float(np.cumsum(np.log1p(shares * won)).max(initial=0.0) - np.ravel(side.target)[0])

    root = lowest
    if lowest + ROUNDING < 1 and excess(lowest + ROUNDING) >= 0:
        root = float(brentq(excess, lowest + ROUNDING, 1.0, xtol=1e-10))
    if side.peak[0] >= side.target:  # the root is found to a tolerance: never let that contradict what was refuted
        return max(root, math.nextafter(side.mean, 1.0))
    return min(root, side.mean)
