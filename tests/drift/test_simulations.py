"""Every simulation keeps its limits, and could break them; Tango's test, which one is held against."""

from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from core import plugins
from drift import simulate
from drift.simulations import Row, single_recipes

RUNS = 1000


@cache
def measured(name: str) -> list[Row]:
    rows: list[Row] = plugins.load(simulate.PACKAGE, name).measure(RUNS)
    return rows


@pytest.mark.parametrize("name", plugins.known(simulate.PACKAGE))
def test_limits_hold(name: str) -> None:
    module = plugins.load(simulate.PACKAGE, name)
    rows = measured(name)
    print(f"\n{module.TITLE}\n{simulate.table(rows)}")
    assert [sentence for row in rows for sentence in row.broken()] == []
    assert any(row.at_most or row.at_least for row in rows)
    assert len({row.truth for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("name", "floor"),
    [("attempts", 0.12), ("clusters", 0.098), ("many_recipes", 0.30), ("percentile", 0.3), ("task_blocks", 0.9)],
)
def test_what_is_unprotected_would_break_the_limit(name: str, floor: float) -> None:
    """Were the protection to do nothing, its limit of 5 % would say so."""
    rows = plugins.load(simulate.PACKAGE, name).measure(200)
    assert "unprotected" in rows[0].truth
    assert rows[0].shares["passed"] > floor


def test_items_against_a_fixed_sample() -> None:
    rows = measured("single_recipes")
    assert single_recipes.mean_share(rows) <= 0.50
    fixed = {row.truth: row.shares["passed"] for row in rows if row.truth.startswith("fixed sample")}
    assert 0.89 <= fixed["fixed sample, equal, 1 % differ"] <= 0.92
    assert 0.04 <= fixed["fixed sample, at the margin, 1 % differ"] <= 0.052


@pytest.mark.parametrize(
    ("share", "limits", "broken"),
    [
        (0.064, {"at_most": {"passed": 0.05}}, False),
        (0.066, {"at_most": {"passed": 0.05}}, True),
        (0.914, {"at_least": {"passed": 0.93}}, False),
        (0.912, {"at_least": {"passed": 0.93}}, True),
        (0.001, {"at_most": {"passed": 0.0}}, True),
    ],
)
def test_a_limit_allows_for_chance_and_no_more(
    share: float, limits: dict[str, dict[str, float]], broken: bool
) -> None:
    """2,000 runs: three standard errors of 5 % are 1.5 %, of 93 % 1.7 %."""
    assert bool(Row("t", 2000, {"passed": share}, **limits).broken()) is broken  # type: ignore[arg-type]


def test_the_command_prints_errors_and_marks_a_broken_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row("bad", 400, {"passed": 0.2}, 10.4, 99.6, at_most={"passed": 0.05}),
        Row("good", 400, {"covered": 0.5}),
    ]
    monkeypatch.setattr(plugins, "load", lambda *_: SimpleNamespace(TITLE="T", measure=lambda _: rows))
    monkeypatch.setattr(sys, "argv", ["simulate", "--only", "samples"])
    assert simulate.main() == 1
    printed = capsys.readouterr().out
    assert "| bad | 20.0 ± 2.0 (≤ 5) |  | 10 | 100 | 400 |" in printed
    assert "| good |  | 50.0 ± 2.5 |  |  | 400 |" in printed
    assert "BROKEN: bad: passed is 20.0%, at most 5.0% is allowed" in printed
    rows.pop(0)
    assert simulate.main() == 0


@pytest.mark.parametrize(
    ("gained", "lost", "items", "level", "low", "high"),
    [(28, 25, 618, 0.90, -0.0148, 0.0247), (1, 7, 21, 0.95, -0.517, -0.026)],
)
def test_the_score_agrees_with_r(gained: int, lost: int, items: int, level: float, low: float, high: float) -> None:
    """At the ends that PropCIs::scoreci.mp(lost, gained, items) and ratesci::pairbinci, the R packages, give."""
    z = float(norm.ppf((1 + level) / 2))
    assert float(single_recipes.score_z(gained, lost, items, low)) == pytest.approx(z, rel=0.01)
    assert float(single_recipes.score_z(gained, lost, items, high)) == pytest.approx(-z, rel=0.01)


def test_the_score_has_its_level() -> None:
    """95 % over 4000 samples of 500 items with 2 % lost and 1 % gained."""
    rng = np.random.default_rng(3)
    counts = rng.multinomial(500, [0.02, 0.01, 0.97], size=4000)
    z = single_recipes.score_z(counts[:, 1], counts[:, 0], 500, -0.01)
    assert 0.94 <= float((np.abs(z) < 1.959964).mean()) <= 0.965
