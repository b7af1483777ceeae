"""Interleaved rounds over any number of sides: every side sees the same prompts under the same machine's mood."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from benchmarks.measure.side import Sample, Side
from benchmarks.records import REQUESTS_A_ROUND
from core import progress

Prompts = Sequence[Sequence[int]]
SHORT_REQUESTS = 3  # a round, to each side; at batch 1 the variant gets more, see `short_requests`
SHORT_TOKENS = 3  # two gaps: the first may hold what a runtime does once after a prompt
WARMUP_TOKENS = 8  # measured: the request after a warm-up of 8 tokens is as fast as the tenth


def interleave(
    sides: Sequence[Side],
    prompts: Prompts,
    batch: int,
    output_tokens: int,
    rounds: int,
    warmup_rounds: int = 1,
) -> list[list[Sample]]:
    """`rounds` timed requests of `batch` prompts to each side; result[side][round].

    The order turns by one side each round, so that no side always works after the same other (with two sides it
    alternates). Every round takes the next prompts, the first again after the last: where `prompts` are fewer than
    the rounds take, only a runtime without a prefix cache is measured fairly.
    """
    taken = cycle(prompts)
    for _ in range(warmup_rounds):
        requests = list(islice(taken, batch))
        for side in sides:
            side.generate(requests, min(output_tokens, WARMUP_TOKENS))
    samples: list[list[Sample]] = [[] for _ in sides]
    for index in progress.track(range(rounds), f"batch {batch}", unit="round"):
        requests = list(islice(taken, batch))
        for position in turning(index, len(sides)):
            samples[position].append(sides[position].generate(requests, output_tokens))
    return samples


def short_requests(sides: Sequence[Side], prompts: Prompts, batch: int, rounds: int) -> list[list[Sample]]:
    """Requests of SHORT_TOKENS tokens, in turning order: a 95th percentile wants many, whole answers take minutes.

    SHORT_REQUESTS for each of the `rounds` to each side. At batch 1, which gates judge, the first side, the variant,
    gets as many more as make REQUESTS_A_ROUND with the whole answer; the slower baseline is not held to a limit.
    """
    taken = cycle(prompts)
    samples: list[list[Sample]] = [[] for _ in sides]
    together = SHORT_REQUESTS * rounds
    for index in range((REQUESTS_A_ROUND - 1) * rounds if batch == 1 else together):
        requests = list(islice(taken, batch))
        for position in turning(index, len(sides)) if index < together else [0]:
            samples[position].append(sides[position].generate(requests, SHORT_TOKENS))
    return samples


def turning(index: int, sides: int) -> list[int]:
    """Positions of `sides` sides: 0, 1, 2 … in round 0; 1, 2, … 0 in round 1; and so on."""
    return [(index + turn) % sides for turn in range(sides)]
