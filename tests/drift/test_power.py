from __future__ import annotations

import time

import numpy as np
import pytest

from drift import power
from drift.sequential import Design
from drift.simulations import single_recipes

SMALL = Design(margin=0.02, alpha=0.05, budget=500)


def test_it_is_what_the_simulation_finds() -> None:
    found = power.power(single_recipes.DESIGN, 0.01)
    rows = {row.truth: row for row in single_recipes.measure(400)}
    assert found.pass_if_equal == pytest.approx(rows["equal, 1 % differ"].shares["passed"], abs=0.07)
    assert found.items_if_equal == pytest.approx(rows["equal, 1 % differ"].items_mean, rel=0.1)


def test_more_changes_leave_less_power_and_more_samples_more() -> None:
    chances = [one.pass_if_equal for one in power.forecast(SMALL)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.95
    assert chances[-1] < 0.5
    assert power.power(SMALL, 0.10, samples=8).pass_if_equal > 0.9


def test_a_benchmark_that_is_read_to_its_end_always_gives_a_verdict() -> None:
    found = power.power(Design(margin=0.02, alpha=0.05, budget=900, population=500), 0.10)
    assert min(found.pass_if_equal, found.fail_at_twice_the_margin) >= 0.99  # the rest got the other verdict early
    assert found.budget_items == 500


def test_the_drawn_benchmark_has_just_its_shares() -> None:
    draw = power.changes(np.random.default_rng(1), np.full(50, 0.06), np.full(50, 0.02), population=100)
    d = np.array([draw(item) for item in range(100)])
    assert ((d == -1).sum(axis=0) == 6).all()
    assert ((d == 1).sum(axis=0) == 2).all()


def test_the_table_is_aligned_and_quick() -> None:
    begun = time.process_time()
    powers = power.forecast(single_recipes.DESIGN)
    assert time.process_time() - begun < 6  # 1.2 s on an idle machine
    printed = power.lines(powers)
    assert len({len(line) for line in printed}) == 1
    assert [line.split()[0] for line in printed[1:]] == ["0.5%", "2.0%", "5.0%", "10.0%"]
