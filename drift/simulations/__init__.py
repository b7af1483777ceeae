"""How often a procedure is right, simulated: a file here for each. `python -m drift.simulate` runs them all.

A simulation module has
- `TITLE: str`: what is shown, in one line;
- `measure(runs: int) -> list[Row]`: the truths, each over `runs` runs with a fixed seed, so that the same `runs` give
  the same rows. A module may take fewer where a run is dear; `Row.runs` says how many it took.

Limits are part of the rows: the command exits 1 where one is broken, tests/drift/test_simulations.py holds each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

TOLERANCE = 3.0  # standard errors that a share may be beyond its limit by chance


@dataclass(frozen=True)
class Row:
    """What one truth led to.

    `shares`: by name ("passed", "failed", "inconclusive", "covered", ...), of the `runs`, each in [0, 1].
    `items_mean`, `items_p90`: items spent, None where that says nothing. `at_most`, `at_least`: limits by the name of
    a share; a row of something unprotected has none, it is there to be compared with.
    """

    truth: str
    runs: int
    shares: Mapping[str, float]
    items_mean: float | None = None
    items_p90: float | None = None
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def broken(self) -> list[str]:
        """One sentence for each limit that is broken by more than chance: TOLERANCE standard errors at the limit."""
        found = []
        for limits, word, sign in ((self.at_most, "at most", 1), (self.at_least, "at least", -1)):
            for name, limit in limits.items():
                error = math.sqrt(limit * (1 - limit) / self.runs)
                if sign * (self.shares[name] - limit) > TOLERANCE * error:
                    found.append(f"{self.truth}: {name} is {self.shares[name]:.1%}, {word} {limit:.1%} is allowed")
        return found
