"""Many recipes are many chances: one of eleven at the margin gets through far more often than 5 % of the time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drift.power import changes, play
from drift.sequential import Bools, Design, NonInferiority
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG, passes

TITLE = "Eleven recipes at the margin: does any of them get through? Margin 1 point, 2 % differ, budget 2,048 items"
DESIGN = Design(margin=0.01, alpha=0.05, budget=2048)
LOST, GAINED, RECIPES = 0.015, 0.005, 11


def measure(runs: int) -> list[Row]:
    runs = min(runs, 2000)
    rng = np.random.default_rng(SEED)

    def passed(design: Design, recipes: int) -> Bools:
        plays = runs * recipes
        draw = changes(rng, np.full(plays, LOST), np.full(plays, GAINED))
        ended = play(NonInferiority(design, plays), draw).passed.reshape(runs, recipes)
        return np.asarray(ended.any(axis=1))

    lucky = passed(DESIGN, RECIPES)
    confirmed = lucky & passed(DESIGN, 1)  # the winner's chance on fresh items does not depend on which it is
    shared = passed(replace(DESIGN, alpha=DESIGN.alpha / RECIPES), RECIPES)
    return [
        passes("each at 5 %, unprotected", lucky),
        passes("the winner confirmed on fresh items", confirmed, WRONG),
        passes("alpha / 11 for each", shared, WRONG),
    ]
