"""The sequential test: its figures by simulation with a fixed seed, and what must hold for every sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AssayError
from drift import simulate
from drift.sequential import Bettor, Design, State
from pipelines import params

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-12  # of a share times 100
SMALL = Design(margin=0.02, alpha=0.05, budget=400)
sequences = st.lists(st.sampled_from([-1, 0, 0, 0, 0, 0, 0, 0, 1]), min_size=1, max_size=300)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, simulate.Outcome]:
    """The mix: equal with 0.1, 0.5 and 1 % discordance, at the margin, 2 and 5 points worse; and truths beside it."""
    runs = {truth.name: 8000 if "margin" in truth.name else 2000 for truth in simulate.TRUTHS}
    return {truth.name: simulate.simulate(truth, runs=runs[truth.name]) for truth in simulate.TRUTHS}


def test_figures_of_issue_3(outcomes: dict[str, simulate.Outcome]) -> None:
    items = simulate.fixed_items()
    print("\n" + simulate.table(list(outcomes.values()), items))
    assert outcomes["equal, 1 % differ"].passed >= 0.90
    assert outcomes["at the margin, 1 % differ"].passed <= 0.05
    assert outcomes["at the margin, 3 % differ"].passed <= 0.05
    assert simulate.mean_share(list(outcomes.values()), items) <= 0.50
    assert sum(outcome.truth.in_mix for outcome in outcomes.values()) == 6


def test_the_figures_are_about_the_defaults() -> None:
    """A larger budget than the simulated one only raises the chance to pass (see `--budget`)."""
    default, design = params.load(ROOT / "params.yaml"), simulate.DESIGN
    assert default.data.evaluation_items >= design.budget
    assert default.evaluate.margin_points == 100 * design.margin
    assert (default.evaluate.alpha, default.evaluate.chunk_items) == (design.alpha, simulate.CHUNK_ITEMS)


def test_a_truly_equal_variant_never_fails_more_often_than_alpha(outcomes: dict[str, simulate.Outcome]) -> None:
    # At the margin `fail` is as wrong as `pass` is; a truly equal variant is far from it.
    assert all(outcome.failed <= 0.05 for name, outcome in outcomes.items() if "margin" in name or "equal" in name)


def test_clear_losses_fail_and_never_pass(outcomes: dict[str, simulate.Outcome]) -> None:
    for name in ("2 points worse", "5 points worse"):
        assert outcomes[name].passed == 0.0
        assert outcomes[name].failed >= 0.99


def test_the_error_rate_holds_where_ville_is_tightest(outcomes: dict[str, simulate.Outcome]) -> None:
    """All differing items are losses: hardly any overshoot, so the bound of 5 % is met almost exactly. 8000 runs."""
    standard_error = (0.05 * 0.95 / 8000) ** 0.5
    assert outcomes["at the margin, 0.5 % differ"].passed <= 0.05 + 2 * standard_error


def test_the_fixed_sample_that_it_is_compared_with_has_the_same_error_rates() -> None:
    items = simulate.fixed_items()
    truths = {truth.name: truth for truth in simulate.TRUTHS}
    assert 0.89 <= simulate.fixed_pass_share(truths["equal, 1 % differ"], items) <= 0.92
    assert 0.04 <= simulate.fixed_pass_share(truths["at the margin, 1 % differ"], items) <= 0.052


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
    design = simulate.DESIGN
    same, broken = State(design).update([0] * 1024), State(design).update([-1, 0] * 32)
    assert same.verdict == "pass"
    assert broken.verdict == "fail"
    assert same.items_to_settle is None


def test_values_other_than_differences_are_refused() -> None:
    with pytest.raises(AssayError, match=r"in \[-1, 1\]"):
        State(SMALL).update([0, 2])
