"""Trying again: a new seed or suite spends what the last attempt left; a raised budget goes on with the same bets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drift.power import changes, play
from drift.sequential import Design, NonInferiority
from drift.simulations import Row
from drift.simulations.parts import SEED, WRONG, passes, play_items

TITLE = "Trying again at the margin: margin 1 point, 1 % differ, all of it lost, budget 1,024 items"
DESIGN = Design(margin=0.01, alpha=0.05, budget=1024)
ATTEMPTS, BUDGETS = 5, (1024, 2048, 4096)


def measure(runs: int) -> list[Row]:
    rng = np.random.default_rng(SEED)
    nothing, lost = np.zeros(runs), np.full(runs, DESIGN.margin)
    alone, carried, wealth = np.zeros(runs, bool), np.zeros(runs, bool), np.ones(runs)
    for _ in range(ATTEMPTS):
        alone |= play(NonInferiority(DESIGN, runs), changes(rng, lost, nothing)).passed
        test = NonInferiority(DESIGN, runs, earlier_wealth=wealth)
        carried |= play(test, changes(rng, lost, nothing), stop_futile=False).passed
        wealth = np.minimum(wealth * np.exp(test.passing.log_wealth), 1.0)
    draw = changes(rng, lost, nothing)
    d = np.array([draw(item) for item in range(BUDGETS[-1])]).T
    again = [play_items(replace(DESIGN, budget=budget), d, stop_futile=False).passed for budget in BUDGETS]
    raised = replace(DESIGN, budget=BUDGETS[-1], earlier_budgets=BUDGETS[:-1])
    return [
        passes("five attempts, each as if it were the first, unprotected", alone),
        passes("five attempts, wealth carried", carried, WRONG),
        passes("a budget raised twice, replayed with bets for the new one, unprotected", np.any(again, axis=0)),
        passes("a budget raised twice, going on", play_items(raised, d, stop_futile=False).passed, WRONG),
    ]
