from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

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
