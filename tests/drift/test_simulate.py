"""Tango's score test, against which the sequential one is held."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from drift import simulate


@pytest.mark.parametrize(
    ("gained", "lost", "items", "level", "low", "high"),
    [(28, 25, 618, 0.90, -0.0148, 0.0247), (1, 7, 21, 0.95, -0.517, -0.026)],
)
def test_the_score_agrees_with_r(gained: int, lost: int, items: int, level: float, low: float, high: float) -> None:
    """At the ends that PropCIs::scoreci.mp(lost, gained, items) and ratesci::pairbinci, the R packages, give."""
    z = float(norm.ppf((1 + level) / 2))
    assert float(simulate.score_z(gained, lost, items, low)) == pytest.approx(z, rel=0.01)
    assert float(simulate.score_z(gained, lost, items, high)) == pytest.approx(-z, rel=0.01)


def test_the_score_has_its_level() -> None:
    """95 % over 4000 samples of 500 items with 2 % lost and 1 % gained."""
    rng = np.random.default_rng(3)
    counts = rng.multinomial(500, [0.02, 0.01, 0.97], size=4000)
    z = simulate.score_z(counts[:, 1], counts[:, 0], 500, -0.01)
    assert 0.94 <= float((np.abs(z) < 1.959964).mean()) <= 0.965
