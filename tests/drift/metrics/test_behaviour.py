from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from core.records import Verdict
from drift import metrics
from drift.metrics import Answer, Comparison, MetricOptions, behaviour
from drift.proportion import wilson
from tests.drift.metrics import seen


def answer(text: str, ids: tuple[int, ...] = (1, 2, 3), finished: bool = True) -> Answer:
    return Answer(ids, text, finished)


def test_shares_are_of_reference_and_variant() -> None:
    reference = [answer("a</think>1"), answer("b</think>2"), answer("c</think>3"), answer("d</think>4")]
    variant = [
        answer("a</think>1"),
        answer("b</think> \n", ids=(1, 2)),
        answer("loops", ids=(7, 8) * 40, finished=False),
        answer("", ids=()),
    ]
    found = behaviour.measure(seen.answers(reference, variant), MetricOptions())
    values = {metric.name: (metric.reference, metric.value) for metric in found}
    assert values == {
        "truncated": (0.0, 0.25),
        "missing_think_close": (0.0, 0.5),
        "repetitive": (0.0, 0.25),
        "empty": (0.0, 0.5),
        "mean_output_tokens": (3.0, (3 + 2 + 80 + 0) / 4),
        "identical_answers": (None, 0.25),
        "truncated_rise": (None, 25.0),
        "missing_think_close_rise": (None, 50.0),
        "repetitive_rise": (None, 25.0),
        "empty_rise": (None, 50.0),
        "length_ratio": (None, (3 + 2 + 80 + 0) / 12),
    }
    assert {metric.count for metric in found} == {4}
    assert behaviour.measure(Comparison(), MetricOptions()) == []


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (range(500), False),
        ([5] * 23, False),  # 23 equal tokens: a long number may look like that
        ([5] * 24, True),
        ([*range(100, 150), *[1, 2, 3] * 8, *range(200, 210)], True),  # also in the middle
        ([*range(30)] * 2, False),  # twice is a repetition, not a loop
        ([*range(30)] * 3, True),
        ([*range(65)] * 3, False),  # blocks longer than 64 tokens are not looked for
        ([], False),
    ],
)
def test_the_definition_of_a_loop(ids: list[int], expected: bool) -> None:
    assert behaviour.is_repetitive(tuple(ids)) is expected


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_is_scipys(successes: int, extra: int) -> None:
    count = successes + extra
    found, expected = wilson(successes, count), binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.count == count


def compared(count: int, cut_off: float, longer: float = 1.0, tokens: int = 40) -> Comparison:
    """`count` items: the variant's answers are cut off in a share, and so many times as long."""
    good = answer("a</think>1", ids=tuple(range(tokens)))
    other = answer("a</think>1", ids=tuple(range(round(longer * tokens))))
    short = replace(other, finished=False)
    order = Random(1).sample(range(count), count)
    variant = [short if place < cut_off * count else other for place in order]
    return replace(seen.answers([good] * count, variant), budget=max(count, 1000), max_tokens=200)


def gate(name: str, given: Comparison) -> Verdict:
    chosen = metrics.choose({"behaviour": {}})
    return next(one for one in metrics.measure(chosen, given) if one.name == name).verdict


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (compared(1000, 0.0), "truncated_rise", "pass"),
        (compared(1000, 0.07), "truncated_rise", "fail"),  # 5 points over the margin
        (compared(50, 0.0), "truncated_rise", "inconclusive"),
        (compared(1000, 0.0), "length_ratio", "pass"),
        (compared(1000, 0.0, longer=1.25), "length_ratio", "fail"),
        (compared(20, 0.0), "length_ratio", "inconclusive"),
    ],
)
def test_what_a_user_would_notice_is_held_to_a_margin(given: Comparison, name: str, expected: Verdict) -> None:
    assert gate(name, given) == expected


def test_a_model_that_never_closes_a_thought_has_no_gate_about_it() -> None:
    plain = [answer("1")] * 300
    names = [one.name for one in behaviour.measure(seen.answers(plain, plain), MetricOptions())]
    assert "missing_think_close_rise" not in names


def test_a_margin_is_the_users_and_may_be_taken_away() -> None:
    given = compared(1000, 0.07)
    for limits, verdict in (({"truncated_rise": {"at_most": 15}}, "pass"), ({"truncated_rise": None}, None)):
        for chosen in (metrics.choose({"behaviour": {"limits": limits}}), metrics.choose({"behaviour": {}}, limits)):
            [found] = [one for one in metrics.measure(chosen, given) if one.name == "truncated_rise"]
            assert (found.verdict if found.limit else None) == verdict
