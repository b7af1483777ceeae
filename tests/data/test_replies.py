"""Reading replies."""

from __future__ import annotations

import pytest

from data import replies


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1+1=2\n</think>\n\\boxed{2}", "2"),
        ("\\boxed{9}\n</think>\nso \\boxed{1} no \\boxed{ 2 }.", "2"),
        ("</think>\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{3}", "3"),  # a model that does not think aloud
        ("<think>maybe \\boxed{3}", None),  # cut off while thinking
        ("\\boxed{3}</think> none", None),
        ("</think>\\boxed{3", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert replies.final_answer(text) == answer


@pytest.mark.parametrize(
    ("raw", "form"), [(" $1,234.5$ ", "1234.5"), ("a  b", "a b"), ("1,2", "1,2"), ("-12,000", "-12000"), ("46", "46")]
)
def test_canonical(raw: str, form: str) -> None:
    assert replies.canonical(raw) == form


@pytest.mark.parametrize(
    ("text", "shown"), [("a</think>b", "b"), ("at once", "at once"), ("<think>cut off", None), ("", "")]
)
def test_visible(text: str, shown: str | None) -> None:
    assert replies.visible(text) == shown
