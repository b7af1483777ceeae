"""What a user would notice in the answers, whatever their score. Definitions:

truncated        the token limit came before the end token
missing think    no `</think>` in the answer: the thinking never ended, or never showed
repetitive       somewhere a block of at most 64 tokens stands at least 3 times in a row and covers 24 tokens or more
empty            nothing to read: blank after the last `</think>`, or blank altogether

Each share has a `..._rise` beside it, in points: the paired difference with the sequential test's interval, a gate.
So has the mean length: `length_ratio`. Where the original never closes a thought there is no gate about closing them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from drift import paired
from drift.metrics import Answer, Comparison, MetricOptions, Side
from drift.records import Limit, Metric

THINK_END = "</think>"
MAX_BLOCK_TOKENS, MIN_REPEATS, MIN_LOOP_TOKENS = 64, 3, 24
KEPT_ANSWERS = 2**16  # whose loops are looked for once, although every look asks


@lru_cache(KEPT_ANSWERS)
def _loops(token_ids: tuple[int, ...]) -> bool:
    return is_repetitive(token_ids)


# name → label, figure of one answer
SHARES: dict[str, tuple[str, Callable[[Answer], float]]] = {
    "truncated": ("cut off", lambda answer: not answer.finished),
    "missing_think_close": ("no </think>", lambda answer: THINK_END not in answer.text),
    "repetitive": ("repeating", lambda answer: _loops(answer.token_ids)),
    "empty": ("empty", lambda answer: is_empty(answer.text)),
}
RISE_POINTS, LONGER = 2.0, 1.10  # margins where params take the gate away
NAMES = (*SHARES, *(f"{name}_rise" for name in SHARES), "mean_output_tokens", "length_ratio", "identical_answers")
OPTIONAL = ("missing_think_close_rise", "length_ratio")
LIMITS = {f"{name}_rise": Limit(at_most=RISE_POINTS) for name in SHARES} | {"length_ratio": Limit(at_most=LONGER)}


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """The mean over all items of each figure, with the original's; by how much it rose; answers with the same ids."""
    if not seen.pairs:
        return []
    found = []
    for name, (label, figure) in SHARES.items():
        sides = _sides(seen, figure)
        means = [float(np.mean(side)) for side in sides]
        share = _metric(seen, name, label, "share").model_copy(update={"reference": means[0], "value": means[1]})
        found.append(share)
        if name != "missing_think_close" or means[0] < 1:
            margin = _limit(options, f"{name}_rise", RISE_POINTS)
            rises = [variant - reference for reference, variant in zip(*sides, strict=True)]
            found.append(
                paired.rise(seen, _metric(seen, f"{name}_rise", f"{label}, rise", "points", "items"), rises, margin)
            )
    same = float(np.mean([_ids(pair.reference) == _ids(pair.variant) for pair in seen.pairs]))
    identical = _metric(seen, "identical_answers", "identical answers", "share").model_copy(update={"value": same})
    return [*found, *_length(seen, options), identical]


def _length(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """Mean length of both, and their ratio.

    At most `most` times as long: most * original - variant is above 0 on average. That is bounded by the longest
    answer, so the test decides it exactly; the interval of the ratio takes the original's mean as it is seen.
    """
    sides = _sides(seen, lambda answer: len(answer.token_ids))
    reference, variant = (float(np.mean(side)) for side in sides)
    means = {"reference": reference, "value": variant}
    mean = _metric(seen, "mean_output_tokens", "mean length", "tokens").model_copy(update=means)
    if not reference:
        return [mean]
    most = _limit(options, "length_ratio", LONGER)
    scale = most * max(seen.max_tokens, *sides[0], *sides[1])
    gains = [(most * ours - theirs) / scale for ours, theirs in zip(*sides, strict=True)]
    look = paired.look(seen.pairs, gains, 0.0, seen.alpha, seen.budget)
    update = {
        "value": variant / reference,
        "low": most - look.high_points / 100 * scale / reference,
        "high": most - look.low_points / 100 * scale / reference,
        "level": 1 - 2 * seen.alpha,
        "is_futile": look.is_futile,
    }
    return [
        mean,
        _metric(seen, "length_ratio", "length over the original's", "ratio", "items").model_copy(update=update),
    ]


def _metric(seen: Comparison, name: str, label: str, unit: str, counted: str = "answers") -> Metric:
    count = len(seen.pairs) * (len(seen.pairs[0].reference.answers) if counted == "answers" else 1)
    group = "What a user would notice"
    return Metric(name=name, label=label, group=group, unit=unit, value=None, count=count, counted=counted)


def _sides(seen: Comparison, figure: Callable[[Answer], float]) -> tuple[list[float], list[float]]:
    """The figure's mean over the answers to each item, of the original and of the variant."""
    reference, variant = (
        [sum(map(figure, side.answers)) / len(side.answers) for side in sides] for sides in seen.sides
    )
    return reference, variant


def _limit(options: MetricOptions, name: str, default: float) -> float:
    """What the metric is held to: the test aims at it."""
    limit = options.limits.get(name)
    return default if limit is None or limit.at_most is None else limit.at_most


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
