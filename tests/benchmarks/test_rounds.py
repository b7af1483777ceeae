from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from benchmarks.measure.rounds import SHORT_TOKENS, WARMUP_TOKENS, interleave, short_requests
from benchmarks.measure.side import Sample, Side


class Recorder:
    """Stands where a Side does, and writes down who was asked what, in order."""

    def __init__(self, name: str, log: list[tuple[str, tuple[int, ...], int]]) -> None:
        self.name = name
        self.log = log

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Sample:
        self.log.append((self.name, tuple(prompt[0] for prompt in prompts), max_tokens))
        return Sample(len(prompts), 1, (0.1, 0.2), 0.2)


def test_turning_alternates_and_both_sides_get_the_same_prompts() -> None:
    log: list[tuple[str, tuple[int, ...], int]] = []
    sides = cast(list[Side], [Recorder("variant", log), Recorder("baseline", log)])
    samples = interleave(sides, [[0], [1], [2], [3], [4]], 2, 32, rounds=4)
    assert [len(side) for side in samples] == [4, 4]
    warmup, timed = log[:2], log[2:]
    assert {tokens for _, _, tokens in warmup} == {WARMUP_TOKENS}
    assert [name for name, _, _ in timed] == ["variant", "baseline", "baseline", "variant"] * 2
    for first, second in zip(timed[::2], timed[1::2], strict=True):
        assert first[1:] == second[1:]
    assert [prompts for _, prompts, _ in timed[::2]] == [(2, 3), (4, 0), (1, 2), (3, 4)]


def test_at_batch_1_the_variant_alone_gets_the_requests_that_a_bound_needs() -> None:
    log: list[tuple[str, tuple[int, ...], int]] = []
    sides = cast(list[Side], [Recorder("variant", log), Recorder("baseline", log)])
    assert [len(side) for side in short_requests(sides, [[0], [1]], 1, rounds=5)] == [55, 15]
    assert [name for name, _, _ in log[:4]] == ["variant", "baseline", "baseline", "variant"]
    assert {tokens for _, _, tokens in log} == {SHORT_TOKENS}
    assert [len(side) for side in short_requests(sides, [[0], [1]], 2, rounds=5)] == [15, 15]
