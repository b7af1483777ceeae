from __future__ import annotations

import pytest
from scipy.stats import binom

from drift.metrics import Answer, Comparison, MetricOptions, flips
from tests.drift.metrics import seen

ANSWER = Answer((1,), "a", True)


def test_flips_count_both_directions() -> None:
    right = [(True, True), (True, False), (False, True), (False, False), (True, False)]
    compared = Comparison([seen.pair(ANSWER, ANSWER, one) for one in right])
    found = {metric.name: metric for metric in flips.measure(compared, MetricOptions())}
    assert (found["answers_lost"].value, found["answers_gained"].value) == (2, 1)
    assert {metric.count for metric in found.values()} == {5}
    assert "not adjusted for looks" in found["mcnemar_p"].label  # the number of items was not fixed
    assert flips.measure(Comparison(), MetricOptions()) == []


def test_mcnemar_is_the_exact_binomial() -> None:
    assert flips.mcnemar_p(8, 1) == pytest.approx(2 * binom.cdf(1, 9, 0.5))
    assert flips.mcnemar_p(0, 0) == 1.0
