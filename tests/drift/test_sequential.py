"""The sequential test: what must hold for every sequence. How often it is right: test_simulations.py."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from core.errors import DataError
from drift import power
from drift.records import Look
from drift.sequential import Bettor, Design, State
from drift.simulations import single_recipes
from pipelines import params

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-12  # of a share times 100
SMALL = Design(margin=0.02, alpha=0.05, budget=400)
sequences = st.lists(st.sampled_from([-1, 0, 0, 0, 0, 0, 0, 0, 1]), min_size=1, max_size=300)


def paired(differences: ArrayLike, design: Design) -> Look:
    """The whole test at once."""
    return State(design).update(differences)


def test_the_figures_are_about_the_defaults() -> None:
    """A larger budget than the simulated one only raises the chance to pass (see `--budget`)."""
    default, design = params.load(ROOT / "params.yaml"), single_recipes.DESIGN
    assert default.data.evaluation_items >= design.budget
    assert default.evaluate.margin_points == 100 * design.margin
    assert (default.evaluate.alpha, default.evaluate.chunk_items) == (design.alpha, power.CHUNK_ITEMS)


def test_wealth_is_a_fair_game_at_the_hypothesis() -> None:
    """E[K(m)] = 1 when the mean of d is m, over every sequence of five items, with the bets that depend on them."""
    rates = {-1.0: 0.30, 0.0: 0.50, 1.0: 0.20}  # mean -0.1
    design = Design(margin=0.1, alpha=0.05, budget=20)
    total = 0.0
    for sequence in np.array(np.meshgrid(*[list(rates)] * 5)).T.reshape(-1, 5):
        side = Bettor(design, -0.1, design.pass_target)
        for d in sequence:
            side.step(np.array([d]))
        total += float(np.prod([rates[d] for d in sequence]) * np.exp(side.log_wealth[0]))
    assert total == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_verdict_and_interval_never_disagree(sequence: list[int]) -> None:
    state = State(SMALL)
    before = state.look()
    for start in range(0, len(sequence), 37):
        look = state.update(sequence[start : start + 37])
        margin_points = -100 * SMALL.margin
        failed, passed = look.verdict == "fail", look.verdict == "pass"
        assert failed or look.high_points >= margin_points - ROUNDING
        assert not failed or look.high_points < margin_points + ROUNDING
        assert passed or failed or look.low_points <= margin_points + ROUNDING
        assert not passed or look.low_points > margin_points - ROUNDING
        assert before.low_points <= look.low_points
        assert look.high_points <= before.high_points
        assert (look.items_to_settle or look.items + 1) > look.items
        assert not (look.is_futile and look.verdict != "inconclusive")
        before = look


@settings(max_examples=40, deadline=None)
@given(sequences, st.integers(1, 50), st.integers(1, 50))
def test_resuming_is_replaying(sequence: list[int], chunk: int, other: int) -> None:
    """The same differences give the same state, however they were cut into chunks."""
    looks = []
    for size in (chunk, other):
        state = State(SMALL)
        for start in range(0, len(sequence), size):
            state.update(sequence[start : start + size])
        looks.append(state.look())
    assert looks[0] == looks[1]


@settings(max_examples=25, deadline=None)
@given(sequences)
def test_exchanging_the_sides_mirrors_the_interval(sequence: list[int]) -> None:
    """With a margin of nearly nothing both sides bet alike, so swapping the two mirrors the interval."""
    design = Design(margin=1e-12, alpha=0.05, budget=400)
    one = State(design).update(sequence)
    two = State(design).update([-d for d in sequence])
    assert one.low_points == pytest.approx(-two.high_points, abs=1e-4)


def test_the_interval_covers_the_truth_at_every_look() -> None:
    """90 % two-sided (5 % each side), all looks together; a true loss of 1 point, 150 runs of 600 items."""
    rng, missed = np.random.default_rng(7), 0
    for _ in range(150):
        state = State(Design(margin=0.005, alpha=0.05, budget=600))
        luck = rng.random(600)
        look = state.update(
            (luck > 0.99).astype(int) - (luck < 0.02)
        )  # running intersection: the last look holds all
        missed += not look.low_points <= -1.0 <= look.high_points
    assert missed / 150 <= 0.10 + 2 * (0.1 * 0.9 / 150) ** 0.5


def test_no_item_decides_nothing() -> None:
    look = State(SMALL).look()
    assert (look.verdict, look.low_points, look.high_points, look.items) == ("inconclusive", -100.0, 100.0, 0)


def test_equal_answers_pass_and_a_broken_variant_fails_soon() -> None:
    design = single_recipes.DESIGN
    same, broken = State(design).update([0] * 1024), State(design).update([-1, 0] * 32)
    assert same.verdict == "pass"
    assert broken.verdict == "fail"
    assert same.items_to_settle is None


@pytest.mark.parametrize("value", [2, -1.001, math.nan, math.inf])
def test_values_other_than_differences_are_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"in \[-1, 1\].*found"):
        State(SMALL).update([0, value])


@pytest.mark.parametrize(
    "wrong",
    [{"earlier_budgets": (400,)}, {"earlier_budgets": (300, 200)}, {"earlier_wealth": 0.0}, {"earlier_wealth": 1.01}],
)
def test_designs_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"do not ascend|at most 1"):
        replace(SMALL, **wrong)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0, 0.2))
def test_a_benchmark_that_was_read_is_known_exactly(sequence: list[float], margin: float) -> None:
    items, mean = len(sequence), float(np.mean(sequence))
    look = paired(sequence, Design(margin=margin, alpha=0.05, budget=items, population=items))
    assert look.high_points - look.low_points <= 1e-4
    assert look.low_points - 1e-4 <= 100 * mean <= look.high_points + 1e-4
    if abs(mean + margin) > 1e-6:
        assert look.verdict == ("pass" if mean > -margin else "fail")
    with pytest.raises(DataError, match="read twice"):
        paired([*sequence, 0.0], Design(margin=margin, alpha=0.05, budget=items, population=items))


def test_a_benchmark_read_to_its_end_with_the_margin_lost_is_neither() -> None:
    look = paired(([0.0] * 49 + [-1.0]) * 10, Design(margin=0.02, alpha=0.05, budget=500, population=500))
    assert (look.verdict, look.is_futile, look.items_to_settle) == ("inconclusive", False, None)


def test_without_replacement_is_a_fair_game_at_the_hypothesis() -> None:
    """E[K(m)] = 1 over every order of a benchmark whose mean is m, up to before the last item decides."""
    items = [-1.0, -1.0, 0.5, 0.0, 0.3, 0.0]
    mean, wealth = float(np.mean(items)), []
    design = Design(margin=-mean, alpha=0.05, budget=6, population=6)
    for order in permutations(items):
        side = Bettor(design, mean, design.pass_target)
        for d in order[:5]:
            side.step(np.array([d]))
        wealth.append(math.exp(side.log_wealth[0]))
    assert float(np.mean(wealth)) == pytest.approx(1.0, abs=1e-9)


def test_the_rest_cannot_make_up_for_it() -> None:
    """After 12 of 20 items lost a loss of half is certain, whatever the bets say."""
    design = Design(margin=0.5, alpha=1e-9, budget=20, population=20)
    assert paired([-1.0] * 15, design).verdict == "inconclusive"  # the other five could all be gained
    assert paired([-1.0] * 16, design).verdict == "fail"


@settings(max_examples=25, deadline=None)
@given(sequences, st.integers(1, 399))
def test_a_raised_budget_goes_on_with_the_wealth_of_the_first_look(sequence: list[int], first: int) -> None:
    before = paired(sequence[:first], replace(SMALL, budget=first))
    state = State(replace(SMALL, earlier_budgets=(first,)))
    after = state.update(sequence[:first])
    assert after.log_wealth == before.log_wealth
    assert (after.low_points, after.high_points) == (before.low_points, before.high_points)


def test_a_new_attempt_passes_later_and_fails_as_soon() -> None:
    again = replace(SMALL, earlier_wealth=0.1)
    needed = [next(n for n in range(1, 400) if paired([0] * n, one).verdict == "pass") for one in (SMALL, again)]
    assert needed[0] + 20 < needed[1]
    lost = [next(n for n in range(1, 400) if paired([-1] * n, one).verdict == "fail") for one in (SMALL, again)]
    assert lost[0] == lost[1]
    look = paired([-1, 0, 0, 0], SMALL)
    assert math.exp(look.log_wealth) < 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-16, 16), min_size=1, max_size=200))
def test_means_over_samples_keep_verdict_and_interval_together(sums: list[int]) -> None:
    look = paired(np.array(sums) / 16, replace(SMALL, margin=0.0, expected_square=0.0125))
    assert look.low_points <= look.high_points or look.verdict == "fail"
    assert (look.verdict == "pass") == (look.low_points > 0 and look.high_points >= 0)
    assert (look.verdict == "fail") == (look.high_points < 0)
