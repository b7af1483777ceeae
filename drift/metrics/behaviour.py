"""What a user would notice in the answers, whatever their score. Definitions:

truncated        the token limit came before the end token
missing think    no `</think>` in the answer: the thinking never ended, or never showed
repetitive       somewhere a block of at most 64 tokens stands at least 3 times in a row and covers 24 tokens or more
empty            nothing to read: blank after the last `</think>`, or blank altogether
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from drift.metrics import Answer, Comparison, MetricOptions, Side
from drift.records import Metric

THINK_END = "</think>"
MAX_BLOCK_TOKENS, MIN_REPEATS, MIN_LOOP_TOKENS = 64, 3, 24
# name → label, unit, figure of one answer
FIGURES: dict[str, tuple[str, str, Callable[[Answer], float]]] = {
    "truncated": ("cut off", "share", lambda answer: not answer.finished),
    "missing_think_close": ("no </think>", "share", lambda answer: THINK_END not in answer.text),
    "repetitive": ("repeating", "share", lambda answer: is_repetitive(answer.token_ids)),
    "empty": ("empty", "share", lambda answer: is_empty(answer.text)),
    "mean_output_tokens": ("mean length", "tokens", lambda answer: len(answer.token_ids)),
}
NAMES = (*FIGURES, "identical_answers")


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """The mean over all answers of each figure, with the original's, and the share of answers with the same ids."""
    if not seen.pairs:
        return []
    metric = partial(Metric, group="What a user would notice", count=len(seen.pairs), counted="answers")
    found = []
    for name, (label, unit, figure) in FIGURES.items():
        reference = float(np.mean([figure(answer) for pair in seen.pairs for answer in pair.reference.answers]))
        value = float(np.mean([figure(answer) for pair in seen.pairs for answer in pair.variant.answers]))
        found.append(metric(name=name, label=label, unit=unit, value=value, reference=reference))
    same = float(np.mean([_ids(pair.reference) == _ids(pair.variant) for pair in seen.pairs]))
    return [*found, metric(name="identical_answers", label="identical answers", unit="share", value=same)]


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


def _ids(side: Side) -> list[tuple[int, ...]]:
    return [answer.token_ids for answer in side.answers]


def _longest_run(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    breaks = np.flatnonzero(~flags)
    return max((int(after - before) - 1 for before, after in pairwise([-1, *breaks, len(flags)])), default=0)
