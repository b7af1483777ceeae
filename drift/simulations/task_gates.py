"""Seven tasks, each held to its own margin: items until all pass, and how often a lost one gets through."""

from __future__ import annotations

import numpy as np

from drift.paired import EXPECTED_SQUARE
from drift.power import CHUNK_ITEMS, changes, play
from drift.sequential import Design, NonInferiority
from drift.simulations import Row
from drift.simulations.parts import NONE, SEED, WRONG, Limits

TITLE = "Seven tasks of equal size, each at a margin of 3 points and alpha over seven, budget 5,120 items"
TASKS, ITEMS = 7, 5120
CHANGED = 0.005  # lost and gained alike: 1 % differ
DESIGN = Design(margin=0.03, alpha=0.05 / TASKS, budget=ITEMS // TASKS, expected_square=EXPECTED_SQUARE)


def measure(runs: int) -> list[Row]:
    return [
        _row("all equal, 1 % differ", runs, 0.0, {"a task failed": 0.05}, {"passed": 0.95}),
        _row("one task lost 3 points", runs, 0.03, WRONG),
        _row("one task lost 10 points", runs, 0.10, {"passed": 0.001}, {"the lost task failed": 0.95}),
    ]


def _row(truth: str, runs: int, loss: float, at_most: Limits = NONE, at_least: Limits = NONE) -> Row:
    """The first task loses `loss`. `passed`: all did, after `items` of all tasks: shuffled, they advance together."""
    lost = np.full((runs, TASKS), CHANGED)
    lost[:, 0] += loss
    draw = changes(np.random.default_rng([SEED, int(1e6 * loss)]), lost.ravel(), np.full(runs * TASKS, CHANGED))
    ended = play(NonInferiority(DESIGN, runs * TASKS), draw, CHUNK_ITEMS // TASKS)
    passed, failed = ended.passed.reshape(runs, TASKS), ended.failed.reshape(runs, TASKS)
    items = TASKS * ended.items.reshape(runs, TASKS).max(axis=1)
    shares = {
        "passed": float(passed.all(axis=1).mean()),
        "a task failed": float(failed.any(axis=1).mean()),
        "the lost task failed": float(failed[:, 0].mean()) if loss else 0.0,
    }
    return Row(truth, runs, shares, float(items.mean()), float(np.quantile(items, 0.9)), at_most, at_least)
