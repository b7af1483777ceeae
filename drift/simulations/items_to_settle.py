"""How often "about N items would settle it" is true, of runs that are inconclusive after their budget.

True means: decided by then in about 90 % of the cases, if the differences go on with the rates seen so far.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drift.power import changes
from drift.sequential import Bools, Design, Floats, NonInferiority
from drift.simulations import Row
from drift.simulations.parts import SEED

TITLE = "Items that would settle it, of runs inconclusive after 256: margin 2 points, 6 % differ; going on as seen"
DESIGN = Design(margin=0.02, alpha=0.05, budget=256)
LONGEST = 20  # times the budget: what is named beyond is not played
STEP = 1.25  # numbers of items are rounded down to powers of this, so that runs can be played together
# truth → shares of items lost and gained
TRUTHS = {"equal": (0.03, 0.03), "twice the margin lost": (0.05, 0.01)}


def measure(runs: int) -> list[Row]:
    runs, rows = min(runs, 1000), []
    for number, (truth, (lost, gained)) in enumerate(TRUTHS.items()):
        rng = np.random.default_rng([SEED, number])
        draw = changes(rng, np.full(runs, lost), np.full(runs, gained))
        d = np.array([draw(item) for item in range(DESIGN.budget)])
        test = NonInferiority(DESIGN, runs)
        for one in d:
            test.step(one)
        is_open = ~(test.passed() | test.failed())
        named = np.where(is_open, test.items_to_settle(), np.inf)
        told = named <= LONGEST * DESIGN.budget
        seen = (d == -1).mean(axis=0), (d == 1).mean(axis=0)
        settled = _settled(rng, d[:, told], named[told], (seen[0][told], seen[1][told]))
        shares = {"settled": float(settled.mean()), "named": float(told.sum() / is_open.sum())}
        rows.append(Row(truth, int(told.sum()), shares, at_most={"settled": 0.97}, at_least={"settled": 0.85}))
    return rows


def _settled(rng: np.random.Generator, d: Floats, named: Floats, rates: tuple[Floats, Floats]) -> Bools:
    """Whether each run, shape (items, runs) so far, is decided by the items named, bets and all going on."""
    settled = np.zeros(len(named), bool)
    powers = np.floor(np.log(named) / np.log(STEP))
    for power in np.unique(powers):
        group = powers == power
        budget = max(int(STEP**power), len(d) + 1)
        test = NonInferiority(replace(DESIGN, budget=budget, earlier_budgets=(len(d),)), int(group.sum()))
        draw = changes(rng, rates[0][group], rates[1][group])
        for item in range(budget):
            test.step(d[item, group] if item < len(d) else draw(item))
            if (test.passed() | test.failed()).all():
                break
        settled[group] = test.passed() | test.failed()
    return settled
