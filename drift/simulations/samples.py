"""Sampled decoding: k answers a question on each side, the item's difference is of means over k."""

from __future__ import annotations

import numpy as np

from drift.sequential import Design, Floats
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG_AT_MARGIN, play_items, row

TITLE = "k samples a question: 500 questions, margin 2 points, alpha 5 %"
ITEMS, MARGIN = 500, 0.02
SPREAD = 0.226  # mean of 2 p (1 - p) over questions, p the chance of a right answer
# The best that any bettor who knows the spread can reach, by dynamic programming: 23.4, 55.2, 79.0 and 95.8 %. A z
# test of a fixed size, which may not be looked at earlier and presumes a normal mean, has 24, 59, 83 and 98 %.
AT_LEAST = {1: 0.17, 4: 0.48, 8: 0.74, 16: 0.93}


def measure(runs: int) -> list[Row]:
    rows = []
    for samples, passed in AT_LEAST.items():
        design = Design(margin=MARGIN, alpha=0.05, budget=ITEMS, expected_square=0.2 / samples)
        rng = np.random.default_rng([SEED, samples])
        equal, worse = (_differences(rng, runs, samples, loss) for loss in (0.0, MARGIN))
        rows += [
            row(f"k = {samples}, equal", play_items(design, equal), {"failed": 0.05}, {"passed": passed}),
            row(f"k = {samples}, at the margin", play_items(design, worse), WRONG_AT_MARGIN),
        ]
    return rows


def _differences(rng: np.random.Generator, runs: int, samples: int, loss: float) -> Floats:
    shape = SPREAD / (1 - 2 * SPREAD)  # of the beta distribution with a = b that has this mean of 2 p (1 - p)
    reference = rng.beta(shape, shape, (runs, ITEMS))
    variant = reference * (1 - loss / 0.5)  # half of the answers are right
    return np.asarray((rng.binomial(samples, variant) - rng.binomial(samples, reference)) / samples)
