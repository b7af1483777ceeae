"""What a test can be expected to say, before the run: the very test of drift.sequential, played with a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drift.records import Power
from drift.sequential import Bools, Design, Floats, NonInferiority

CHUNK_ITEMS = 256  # the default of `evaluate.chunk_items`
RUNS, SEED = 400, 20261124  # a share is known to +-2.5 % (one standard error)
DISCORDANCES = (0.005, 0.02, 0.05, 0.10)

Draw = Callable[[int], Floats]  # the number of items before → the next difference of every run, shape (runs,)


@dataclass(frozen=True)
class Played:
    """Where every run ended: its verdict, and the items spent. Arrays of shape (runs,)."""

    passed: Bools
    failed: Bools
    items: Floats


def play(test: NonInferiority, draw: Draw, chunk_items: int = CHUNK_ITEMS, stop_futile: bool = True) -> Played:
    """The test as `evaluate` runs it: a look after every chunk, until decided, futile or out of budget.

    All runs are drawn until the last has ended: `test` is of use afterwards where `stop_futile` is off.
    """
    design, runs = test.design, len(test.passing.total)
    passed, failed, running = np.zeros(runs, bool), np.zeros(runs, bool), np.ones(runs, bool)
    items = np.full(runs, float(design.budget))
    for item in range(1, design.budget + 1):
        test.step(draw(item - 1))
        if item % chunk_items == 0 or item == design.budget:
            passed |= running & test.passed()
            failed |= running & test.failed()
            stopped = running & (passed | failed | (test.is_futile() if stop_futile else False))
            items[stopped] = item
            running &= ~stopped
            if not running.any():
                break
    return Played(passed, failed, items)


def changes(
    rng: np.random.Generator, lost: Floats, gained: Floats, samples: int = 1, population: int | None = None
) -> Draw:
    """Differences of right and wrong answers: means over `samples`, of which the shares `lost` and `gained` change.

    `lost`, `gained`: shape (runs,). With a population (and one sample), a benchmark that has just these shares,
    rounded to items, is read in random order.
    """
    left = np.rint(np.array([lost, gained]) * population) if population else np.zeros(0)

    def draw(item: int) -> Floats:
        if population is None:
            up = rng.binomial(samples, gained)
            return np.asarray((up - rng.binomial(samples - up, lost / (1 - gained))) / samples)
        luck = rng.random(len(lost)) * (population - item)
        is_lost, is_gained = luck < left[0], luck >= population - item - left[1]
        left[:] -= is_lost, is_gained
        return np.asarray(is_gained.astype(float) - is_lost)

    return draw


def power(design: Design, discordance: float, samples: int = 1, chunk_items: int = CHUNK_ITEMS) -> Power:
    """What to expect of `design` where the share `discordance` of answers changes; means over `samples` an item."""
    return forecast(design, [discordance], samples, chunk_items)[0]


def forecast(
    design: Design, discordances: Sequence[float] = DISCORDANCES, samples: int = 1, chunk_items: int = CHUNK_ITEMS
) -> list[Power]:
    """`power` for each discordance, played together. With `samples` above 1 the population counts as unlimited."""
    played = replace(design, population=None) if samples > 1 else design
    if played.population:
        played = replace(played, budget=min(played.budget, played.population))
    share, loss = (
        np.repeat(values, RUNS)
        for values in (np.repeat(discordances, 2), np.tile([0.0, 2 * design.margin], len(discordances)))
    )
    share = np.maximum(share, loss)  # a loss of 2 points takes 2 % of changed answers
    draw = changes(
        np.random.default_rng(SEED), (share + loss) / 2, (share - loss) / 2, samples, population=played.population
    )
    ended = play(NonInferiority(played, len(share)), draw, chunk_items)
    found = []
    for number, discordance in enumerate(discordances):
        equal = slice(2 * number * RUNS, (2 * number + 1) * RUNS)
        worse = slice(equal.stop, equal.stop + RUNS)
        found.append(
            Power(
                discordance=discordance,
                samples=samples,
                budget_items=played.budget,
                pass_if_equal=float(ended.passed[equal].mean()),
                items_if_equal=float(ended.items[equal].mean()),
                fail_at_twice_the_margin=float(ended.failed[worse].mean()),
                items_at_twice_the_margin=float(ended.items[worse].mean()),
            )
        )
    return found


def lines(powers: Sequence[Power]) -> list[str]:
    """A table to print: a line of heads, then one for each."""
    heads = ("answers that change", "pass, if equal", "items", "fail, at twice the margin", "items")
    return [
        "".join(head.rjust(width) for head, width in zip(heads, (20, 16, 8, 27, 8), strict=True)),
        *(
            f"{one.discordance:>20.1%}{one.pass_if_equal:>16.0%}{one.items_if_equal:>8,.0f}"
            f"{one.fail_at_twice_the_margin:>27.0%}{one.items_at_twice_the_margin:>8,.0f}"
            for one in powers
        ),
    ]
