from __future__ import annotations

from pathlib import Path

import pytest

from drift.records import Look
from evaluation.attempts import Ledger


def look(items: int, log_wealth: float) -> Look:
    return Look(items=items, delta_points=0, low_points=-1, high_points=1, log_wealth=log_wealth)


def test_wealth_is_handed_on_and_never_above_one(tmp_path: Path) -> None:
    for evidence, log_wealth, expected in (("a", -1.0, 1.0), ("b", -1.0, 0.3679), ("c", 3.0, 0.1353), ("d", 0, 1.0)):
        ledger = Ledger("claim", evidence, 100, tmp_path)
        assert ledger.attempt.earlier_wealth == pytest.approx(expected, abs=1e-4)
        ledger.keep(look(100, log_wealth))
    assert Ledger("claim", "b", 100, tmp_path).number == 2  # looked at again, it is the attempt that it was
    assert Ledger("other claim", "a", 100, tmp_path).attempt.earlier_wealth == 1.0


def test_who_stops_in_the_middle_has_looked(tmp_path: Path) -> None:
    Ledger("claim", "a", 100, tmp_path).keep(look(20, -2.0))
    assert Ledger("claim", "b", 100, tmp_path).attempt.earlier_wealth == pytest.approx(0.1353, abs=1e-4)


def test_replaying_does_not_forget_what_was_seen_later(tmp_path: Path) -> None:
    Ledger("claim", "a", 100, tmp_path).keep(look(60, -2.0))
    again = Ledger("claim", "a", 100, tmp_path)
    again.keep(look(20, 0.5))
    assert Ledger("claim", "b", 100, tmp_path).attempt.earlier_wealth == pytest.approx(0.1353, abs=1e-4)


def test_budgets_are_remembered(tmp_path: Path) -> None:
    for budget, earlier in ((100, ()), (100, ()), (200, (100,)), (400, (100, 200)), (100, ())):
        ledger = Ledger("claim", "a", budget, tmp_path)
        assert ledger.earlier_budgets == earlier
        ledger.keep(look(budget, 0.0))
