"""Could the comparison have seen a loss? Not where the original is hardly ever right, or answers are cut off.

Asked after every chunk: what is out of the question ends the run there, what is open goes on, and what is still open
at the end gives no verdict either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.records import Interval
from drift.metrics import Pair
from drift.proportion import wilson
from evaluation.params import ValidityParams
from evaluation.records import Reply

REPLIES = 3  # of the original, shown of a suite in which it is hardly ever right
State = Literal["clear", "open", "hopeless"]


@dataclass(frozen=True)
class Validity:
    """`why`: what is wrong and which setting to change; None where all is clear. `suite`: where accuracy is low."""

    state: State
    why: str | None = None
    suite: str | None = None


def look(params: ValidityParams, pairs: Sequence[Pair]) -> Validity:
    """The worst of what holds for every suite and for both sides, from 95 % intervals (items, not answers, count)."""
    found = [_accuracy(params, suite, [one for one in pairs if one.item.suite == suite]) for suite in _suites(pairs)]
    for name, sides in (
        ("the original", [one.reference for one in pairs]),
        ("the variant", [one.variant for one in pairs]),
    ):
        cut_off = [sum(not answer.finished for answer in side.answers) / len(side.answers) for side in sides]
        share = wilson(sum(cut_off), len(cut_off))
        what = f"{name}'s answers are cut off in {_shown(share)}, more than {params.max_truncated:.0%} is no test: "
        why = what + "raise generation.max_tokens"
        if share.low > params.max_truncated:
            found.append(Validity("hopeless", why))
        elif share.high > params.max_truncated:
            found.append(Validity("open", why))
    for state in ("hopeless", "open"):
        for one in found:
            if one.state == state:
                return one
    return Validity("clear")


def replies(pairs: Sequence[Pair], suite: str) -> list[Reply]:
    """The first wrong replies of the original to the suite: they show whether scoring or length is at fault."""
    wrong = [one for one in pairs if one.item.suite == suite and one.reference.share_right < 1]
    return [
        Reply(suite=suite, question=one.item.question, answer=one.item.answer, reply=one.reference.answers[0].text)
        for one in wrong[:REPLIES]
    ]


def _suites(pairs: Sequence[Pair]) -> list[str]:
    return sorted({one.item.suite for one in pairs})


def _accuracy(params: ValidityParams, suite: str, pairs: Sequence[Pair]) -> Validity:
    right = wilson(sum(one.reference.share_right for one in pairs), len(pairs))
    if right.low < params.min_accuracy:
        why = (
            f"the original is right in {_shown(right)} of suite '{suite}', less than {params.min_accuracy:.0%} shows "
            "no loss: look at its replies, then change the suite's scoring, generation.max_tokens or the suite"
        )
        return Validity("hopeless" if right.high < params.min_accuracy else "open", why, suite)
    if right.low > params.max_accuracy:
        why = (
            f"the original is right in {_shown(right)} of suite '{suite}', more than {params.max_accuracy:.0%} is "
            "too easy to tell two models apart: add harder questions, or raise evaluate.validity.max_accuracy"
        )
        return Validity("hopeless", why)
    return Validity("clear")


def _shown(share: Interval) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
