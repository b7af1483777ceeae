"""Intervals of the figures of token scores where few tokens are large: mean KL, perplexity ratio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drift import divergence
from drift.divergence import Floats, TokenScores
from drift.simulations import Row
from drift.simulations.parts import SEED, Limits

TITLE = "95 % intervals over 1,024 items of 10 to 59 tokens: how often the truth is in them"
ITEMS = 1024
Draw = Callable[[np.random.Generator, int], Floats]


def _rare(rate: float) -> Draw:
    return lambda rng, tokens: (rng.random(tokens) < rate) * rng.exponential(1.0, tokens)


# values of tokens and their mean; shares: covered (of the data sets that get an interval), given
KL: dict[str, tuple[Draw, float, Limits]] = {
    "KL, 1 token of 3,000 differs": (_rare(1 / 3000), 1 / 3000, {}),
    "KL, 1 token of 500 differs": (_rare(1 / 500), 1 / 500, {"covered": 0.93}),
    "KL, Pareto with exponent 2.2": (lambda rng, tokens: rng.pareto(2.2, tokens), 1 / 1.2, {"covered": 0.93}),
    "KL, log-normal, sigma 2": (lambda rng, tokens: rng.lognormal(0, 2, tokens), np.exp(2.0), {"covered": 0.93}),
    "KL, log-normal, sigma 3": (
        lambda rng, tokens: rng.lognormal(0, 3, tokens),
        np.exp(4.5),
        {"covered": 0.89},
    ),
}
BY_LENGTH = [TokenScores(*[np.zeros(length)] * 4) for length in range(60)]  # only the lengths are read
NOISE = 0.01  # of the excess, in nats
# One token of so many is 3 nats worse, on average. Of 10,000 it is about four tokens in all, in 3 % of the data none.
RARE_EXCESS = {10_000: 0.85, 3000: 0.94, 500: 0.94}


def _excess(every: int) -> Draw:
    return lambda rng, tokens: rng.normal(0, NOISE, tokens) + 3 * _rare(1 / every)(rng, tokens)


def measure(runs: int) -> list[Row]:
    runs = min(runs, 300)
    rows = []
    for truth, (draw, mean, limits) in KL.items():
        covered, given = _cover(draw, mean, runs)
        shares = {"covered": float(covered[given].mean())} if given.any() else {}
        rows.append(Row(truth, runs, shares | {"given": float(given.mean())}, at_least=limits))
    for every, least in RARE_EXCESS.items():
        shares = {"covered": float(_cover(_excess(every), 3 / every, runs)[0].mean()), "given": 1.0}
        truth = f"perplexity ratio, 1 token of {every:,} is 3 nats worse"
        rows.append(Row(truth, runs, shares, at_least={"covered": least}))
    return rows


def _cover(draw: Draw, mean: float, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether the interval holds the mean, and whether enough items carry it; shape (runs,)."""
    rng, covered, given = np.random.default_rng(SEED), np.zeros(runs, bool), np.zeros(runs, bool)
    for run in range(runs):
        lengths = rng.integers(10, 60, ITEMS)
        item = np.repeat(np.arange(ITEMS), lengths)
        sums = np.bincount(item, draw(rng, len(item)), ITEMS)
        scores = [BY_LENGTH[length] for length in lengths]
        found = divergence.per_token(sums, scores, seed=0)
        covered[run], given[run] = found.low <= mean <= found.high, divergence.carrying(sums) >= divergence.CARRIERS
    return covered, given
