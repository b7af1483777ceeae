"""Figures as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import text


@pytest.mark.parametrize(
    ("value", "shown"), [(0.104, "+0.10"), (-0.104, "−0.10"), (0.0, "0.00"), (-0.001, "0.00"), (None, "–")]
)
def test_a_signed_figure_has_a_true_minus_and_no_negative_zero(value: float | None, shown: str) -> None:
    assert text.signed(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 1024**2, "3.0 MiB")]
)
def test_sizes_carry_their_unit(count: int, shown: str) -> None:
    assert text.size(count) == shown


@given(st.text(max_size=8), st.text(max_size=8))
def test_texts_agree_up_to_their_divergence_and_differ_there(ours: str, theirs: str) -> None:
    at = text.divergence(ours, theirs)
    assert ours[:at] == theirs[:at]
    assert at == min(len(ours), len(theirs)) or ours[at] != theirs[at]
