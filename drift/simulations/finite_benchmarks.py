"""The benchmark itself is the target: its items in random order, none twice."""

from __future__ import annotations

import numpy as np

from drift.power import changes
from drift.sequential import Design, Floats, NonInferiority, gain
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG_AT_MARGIN, play_changes

TITLE = "Finite benchmarks of 500 items, margin 2 points; the interval is of level 90 %, all looks together"
ITEMS = 500
DESIGN = Design(margin=0.02, alpha=0.05, budget=ITEMS, population=ITEMS)
UNLIMITED = Design(margin=0.02, alpha=0.05, budget=ITEMS)


def measure(runs: int) -> list[Row]:
    return [
        play_changes("equal, 6 % differ", DESIGN, runs, 0.03, 0.03, {"failed": 0.0}, {"passed": 1.0}),
        play_changes("equal, 6 % differ, judged as items like these", UNLIMITED, runs, 0.03, 0.03),
        play_changes("at the margin, 6 % differ", DESIGN, runs, 0.04, 0.02, WRONG_AT_MARGIN),
        play_changes("0.4 points beyond the margin", DESIGN, runs, 0.042, 0.018, {"passed": 0.05}, {"failed": 0.95}),
        _coverage("2 points worse: the interval holds the truth", runs, 0.04, 0.02),
        _coverage("equal: the interval holds the truth", runs, 0.03, 0.03),
    ]


def _coverage(truth: str, runs: int, lost: float, gained: float) -> Row:
    """The truth was never refuted from either side: the wealth against it stayed below 1 / alpha."""
    test = NonInferiority(DESIGN, runs)
    draw = changes(np.random.default_rng(SEED), np.full(runs, lost), np.full(runs, gained), population=ITEMS)
    wealth, covered, mean = [np.zeros(runs), np.zeros(runs)], np.ones(runs, bool), gained - lost
    for item in range(ITEMS):
        d: Floats = draw(item)
        before = test.passing.total
        for side, (share, sign) in enumerate(zip(test.step(d), (1, -1), strict=True)):
            wealth[side] += np.log1p(share * gain(sign * d, sign * mean, sign * before, item, ITEMS))
            covered &= wealth[side] < DESIGN.fail_target
    return Row(truth, runs, {"covered": float(covered.mean())}, at_least={"covered": 0.90})
