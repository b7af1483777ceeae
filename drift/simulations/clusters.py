"""Questions of one source stand and fall together: the mean of the cluster is one item, its members are not."""

from __future__ import annotations

import numpy as np

from drift.sequential import Design
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG_AT_MARGIN, play_items, row

TITLE = "Clusters of 8 that change together, at the margin of 2 points: 128 clusters, budget 1,024 questions"
CLUSTERS, SIZE, MARGIN = 128, 8, 0.02
LOST, GAINED, EACH = 0.10, 0.05, 0.4  # of the clusters; in one that changes, each question does with this chance


def measure(runs: int) -> list[Row]:
    rng = np.random.default_rng(SEED)
    luck = rng.random((runs, CLUSTERS, 1))
    sign = (luck > 1 - GAINED).astype(float) - (luck < LOST)
    d = sign * (rng.random((runs, CLUSTERS, SIZE)) < EACH)
    whole = Design(margin=MARGIN, alpha=0.05, budget=CLUSTERS)
    single = Design(margin=MARGIN, alpha=0.05, budget=CLUSTERS * SIZE)
    return [
        row("questions taken as items, unprotected", play_items(single, d.reshape(runs, -1))),
        row("means of clusters", play_items(whole, d.mean(axis=2)), WRONG_AT_MARGIN),
    ]
