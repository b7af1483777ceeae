"""Every attempt at judging one recipe of one model: trying again with another seed or suite is another chance.

A new attempt begins with the wealth that the last one lost (at most 1): the chance that any of them passes at the
margin stays alpha, since the product of their wealths is still a fair game. A larger budget on the same items is no
new attempt: its bets up to the earlier budgets are those that were made. `python -m drift.simulate --only attempts`.

The ledger is a folder of JSON files, `attempts/` or what ASSAY_ATTEMPTS names: whoever judges on several machines
shares it. Deleting it is trying again without saying so; records tell which attempt they are.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from pydantic import Field

from core import files
from core.records import Record
from drift.records import Look

LEAST_WEALTH = 1e-9


class Attempt(Record):
    """`evidence` names variant, items and decoding; the other fields are as of the last look."""

    evidence: str
    budgets: list[int]  # ascending: the last is in force, the others were before it was raised
    earlier_wealth: float
    items: int = 0
    log_wealth: float = 0.0

    @property
    def wealth_left(self) -> float:
        """What the next attempt begins with."""
        return min(1.0, max(LEAST_WEALTH, self.earlier_wealth * math.exp(min(self.log_wealth, 99.0))))


class Attempts(Record):
    """All attempts at one claim, in order."""

    claim: str
    attempts: list[Attempt] = Field(default_factory=list)


class Ledger:
    """The attempts at `claim`, which names the original, the recipe and what the test is for."""

    def __init__(self, claim: str, evidence: str, budget: int, folder: Path | None = None) -> None:
        folder = folder or Path(os.environ.get("ASSAY_ATTEMPTS") or "attempts")
        self._path = folder / f"{files.sha256_bytes(claim.encode())[:32]}.json"
        known = Attempts.read_if_exists(self._path) or Attempts(claim=claim)
        before = [one for one in known.attempts if one.evidence != evidence]
        mine = next((one for one in known.attempts if one.evidence == evidence), None)
        if mine is None:
            wealth = before[-1].wealth_left if before else 1.0
            mine = Attempt(evidence=evidence, budgets=[budget], earlier_wealth=wealth)
            known = known.model_copy(update={"attempts": [*known.attempts, mine]})
        elif budget > mine.budgets[-1]:
            mine = mine.model_copy(update={"budgets": [*mine.budgets, budget]})
        self._known, self.attempt = known, mine
        self.number = [one.evidence for one in known.attempts].index(evidence) + 1
        self.earlier_budgets = tuple(one for one in mine.budgets if one < budget)

    def keep(self, look: Look) -> None:
        """Write what is known now: who stops in the middle has looked, too."""
        if look.items < self.attempt.items:  # replayed up to here; more was seen already
            return
        mine = self.attempt.model_copy(update={"items": look.items, "log_wealth": look.log_wealth})
        attempts = [mine if one.evidence == mine.evidence else one for one in self._known.attempts]
        self._known, self.attempt = self._known.model_copy(update={"attempts": attempts}), mine
        self._known.save(self._path)
