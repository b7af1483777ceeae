"""Tasks of different loss: shuffled, any start of the order is like the whole; in blocks the first task decides."""

from __future__ import annotations

import numpy as np

from drift.sequential import Design
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG_AT_MARGIN, play_items, row

TITLE = "Four tasks, the last of which loses all: at the margin of 1 point on the whole, budget 4,096 items"
DESIGN = Design(margin=0.01, alpha=0.05, budget=4096)
TASKS, GAINED = 4, 0.002


def measure(runs: int) -> list[Row]:
    rng = np.random.default_rng(SEED)
    lost = np.repeat([GAINED] * (TASKS - 1) + [GAINED + TASKS * DESIGN.margin], DESIGN.budget // TASKS)
    luck = rng.random((runs, DESIGN.budget))
    blocks = (luck > 1 - GAINED).astype(np.float64) - (luck < lost)
    return [
        row("in blocks, unprotected", play_items(DESIGN, blocks)),
        row("shuffled over tasks", play_items(DESIGN, rng.permuted(blocks, axis=1)), WRONG_AT_MARGIN),
    ]
