from __future__ import annotations

import pytest

from data.records import Item
from drift.metrics import Answer, Pair, Side
from evaluation import validity
from evaluation.params import ValidityParams

PARAMS = ValidityParams()


def pairs(
    count: int, right: float, cut_off: float = 0.0, variant_cut_off: float = 0.0, suite: str = "s"
) -> list[Pair]:
    """`count` items: the original is right in a share, and shares of each side's answers are cut off."""

    def side(number: int, share: float) -> Side:
        return Side((Answer((1,), f"reply {number}", number >= share * count),), (number < right * count,))

    return [
        Pair(
            Item(id=str(number), suite=suite, task="t", question=f"q{number}", answer="a"),
            side(number, cut_off),
            side(number, variant_cut_off),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("given", "state", "said"),
    [
        (pairs(256, 0.5), "clear", None),
        (pairs(256, 0.0), "hopeless", "right in 0.0%"),
        (pairs(256, 0.22), "open", "of suite 's', less than 20% shows no loss"),  # its interval holds 20 %
        (pairs(5000, 0.22), "clear", None),
        (pairs(1024, 1.0), "hopeless", "too easy to tell two models apart"),
        (pairs(256, 0.5, cut_off=0.737), "hopeless", "the original's answers are cut off in 73.8%"),
        (pairs(256, 0.5, variant_cut_off=0.3), "hopeless", "the variant's answers are cut off"),
        (pairs(256, 0.5, cut_off=0.08), "open", "raise generation.max_tokens"),
        (pairs(2000, 0.5, cut_off=0.08), "clear", None),
        (pairs(200, 0.9) + pairs(200, 0.01, suite="hard"), "hopeless", "of suite 'hard'"),
    ],
)
def test_what_the_test_can_see(given: list[Pair], state: str, said: str | None) -> None:
    found = validity.look(PARAMS, given)
    assert found.state == state
    assert (found.why is None) if said is None else said in (found.why or "")


def test_three_replies_show_what_is_wrong() -> None:
    found = validity.replies(pairs(100, 0.01), "s")
    assert [one.reply for one in found] == ["reply 1", "reply 2", "reply 3"]
    assert found[0].question == "q1"


def test_limits_are_the_users() -> None:
    lower = ValidityParams(min_accuracy=0.0, max_truncated=1.0)
    assert validity.look(lower, pairs(256, 0.0, cut_off=1.0)).state == "clear"
