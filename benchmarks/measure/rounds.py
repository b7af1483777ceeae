"""Interleaved rounds over any number of sides: every side sees the same prompts under the same machine's mood."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from benchmarks.measure.side import Sample, Side
from core import progress

Prompts = Sequence[Sequence[int]]
FIRST_TOKENS = 15  # extra requests for TTFT alone: a p95 wants 20 in all, and whole answers would take minutes
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


def first_tokens(sides: Sequence[Side], prompts: Prompts, batch: int) -> list[list[Sample]]:
    """FIRST_TOKENS requests of two tokens to each side, in turning order: more samples of the time to first token."""
    taken = cycle(prompts)
    samples: list[list[Sample]] = [[] for _ in sides]
    for index in range(FIRST_TOKENS):
        requests = list(islice(taken, batch))
        for position in turning(index, len(sides)):
            samples[position].append(sides[position].generate(requests, 2))
    return samples


def turning(index: int, sides: int) -> list[int]:
    """Positions of `sides` sides: 0, 1, 2 … in round 0; 1, 2, … 0 in round 1; and so on."""
    return [(index + turn) % sides for turn in range(sides)]
