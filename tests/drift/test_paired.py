from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from drift import paired


def test_flips_count_both_directions() -> None:
    found = paired.flips([True, True, False, False, True], [True, False, True, False, False])
    assert (found.both_right, found.lost, found.gained, found.both_wrong) == (1, 2, 1, 1)
    assert paired.differences([True, True, False], [True, False, True]).tolist() == [0, -1, 1]


def test_mcnemar_is_the_exact_binomial() -> None:
    assert paired.mcnemar_p(8, 1) == pytest.approx(2 * binom.cdf(1, 9, 0.5))
    assert paired.mcnemar_p(0, 0) == 1.0


@pytest.mark.parametrize(
    ("gained", "lost", "items", "level", "low", "high"),
    [(28, 25, 618, 0.90, -0.0148, 0.0247), (1, 7, 21, 0.95, -0.517, -0.026)],
)
def test_score_interval_agrees_with_r(
    gained: int, lost: int, items: int, level: float, low: float, high: float
) -> None:
    """Values of PropCIs::scoreci.mp(lost, gained, items) and of ratesci::pairbinci, the R packages."""
    found = paired.score_interval(gained, lost, items, level)
    digits = 4 if level == 0.90 else 3
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200))
def test_score_interval_holds_its_estimate_and_mirrors(gained: int, lost: int, same: int) -> None:
    items = max(gained + lost + same, 1)
    one, two = paired.score_interval(gained, lost, items), paired.score_interval(lost, gained, items)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.low == pytest.approx(-two.high, abs=1e-6)


def test_score_interval_covers() -> None:
    """95 % over 4000 samples of 500 items with 2 % lost and 1 % gained."""
    rng = np.random.default_rng(3)
    counts = rng.multinomial(500, [0.02, 0.01, 0.97], size=4000)
    z = paired.score_z(counts[:, 1], counts[:, 0], 500, -0.01)
    assert 0.94 <= float((np.abs(z) < 1.959964).mean()) <= 0.965
