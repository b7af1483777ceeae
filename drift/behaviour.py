"""What a user would notice in the answers, whatever their score. Definitions:

truncated        the token limit came before the end token
missing think    no `</think>` in the answer: the thinking never ended, or never showed
repetitive       somewhere a block of at most 64 tokens stands at least 3 times in a row and covers 24 tokens or more
empty            nothing to read: blank after the last `</think>`, or blank altogether
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from drift.records import Behaviour

THINK_END = "</think>"
MAX_BLOCK_TOKENS, MIN_REPEATS, MIN_LOOP_TOKENS = 64, 3, 24


@dataclass(frozen=True)
class Answer:
    """One answer as generated: new token ids without the end token, their text, and whether the end token came."""

    token_ids: tuple[int, ...]
    text: str
    finished: bool


def compare(reference: Sequence[Answer], variant: Sequence[Answer]) -> Behaviour | None:
    """Shares over the same items, in order, as (reference, variant); None when there are none."""
    if not reference:
        return None
    sides = (reference, variant)
    return Behaviour(
        truncated=_both([[not answer.finished for answer in side] for side in sides]),
        missing_think_close=_both([[THINK_END not in answer.text for answer in side] for side in sides]),
        repetitive=_both([[is_repetitive(answer.token_ids) for answer in side] for side in sides]),
        empty=_both([[is_empty(answer.text) for answer in side] for side in sides]),
        mean_output_tokens=_both([[len(answer.token_ids) for answer in side] for side in sides]),
        identical_answers=float(
            np.mean([one.token_ids == other.token_ids for one, other in zip(reference, variant, strict=True)])
        ),
        items=len(reference),
    )


def is_repetitive(token_ids: Sequence[int]) -> bool:
    """Whether the answer is caught in a loop, as defined above: equal to itself moved by a block, for long enough."""
    ids = np.asarray(token_ids)
    for block in range(1, min(MAX_BLOCK_TOKENS, len(ids) // MIN_REPEATS) + 1):
        same = ids[block:] == ids[:-block]
        if _longest_run(same) + block >= max(MIN_REPEATS * block, MIN_LOOP_TOKENS):
            return True
    return False


def is_empty(text: str) -> bool:
    """Whether a reader would see nothing once the thinking is hidden."""
    return not text.rpartition(THINK_END)[2].strip()


def _longest_run(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    breaks = np.flatnonzero(~flags)
    return max((int(after - before) - 1 for before, after in pairwise([-1, *breaks, len(flags)])), default=0)


def _both(sides: Sequence[Sequence[float]]) -> tuple[float, float]:
    return float(np.mean(sides[0])), float(np.mean(sides[1]))
