"""Interleaved rounds over every loaded side: the same prompts, in turning order. A side that fails drops out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, repeat

from benchmarks import gpu_model
from benchmarks.gpu_sides import LIMITED
from benchmarks.rounds import FIRST_TOKENS, turning
from benchmarks.side import OutOfMemory, Sample, Side
from core import progress
from core.errors import AssayError

PROMPT_TOKENS = OUTPUT_TOKENS = 128
# Of whole answers: a static cache compiles for the length that is asked, and its graph is captured in the second.
WARMUPS = 2


@dataclass
class Seen:
    """What one side gave, by number of requests: timed answers, and first tokens alone. `stopped`: why it failed."""

    samples: dict[int, list[Sample]] = field(default_factory=dict)
    first: dict[int, list[Sample]] = field(default_factory=dict)
    memory_mib: float | None = None
    stopped: str | None = None


class _Contender:
    """A loaded side with what it gave so far. Once it failed it is closed, and gives nothing more."""

    def __init__(self, side: Side) -> None:
        self.side, self.seen = side, Seen()

    def takes(self, count: int) -> bool:
        """Whether it goes on, and can answer `count` requests at once."""
        return not self.seen.stopped and count in LIMITED.get(self.side.spec.name, (count,))

    def ask(self, batch: list[list[int]], tokens: int) -> Sample | None:
        """A timed answer to the batch; None once it failed."""
        if self.seen.stopped:
            return None
        try:
            return self.side.generate(batch, tokens)
        except AssayError as error:
            self.seen.stopped = _note(self.side.spec.name, len(batch), self.seen, error)
            progress.say(self.seen.stopped)
            self.side.close()
            return None


def measure(
    sides: Mapping[str, Side], requests: Sequence[int], rounds: int, memory_mib: Callable[[int], float | None]
) -> dict[str, Seen]:
    """`rounds` timed answers of every side at each number of requests. `memory_mib(pid)` is asked after each."""
    contenders = {name: _Contender(side) for name, side in sides.items()}
    for count in sorted(set(requests)):
        taking = [one for one in contenders.values() if one.takes(count)]
        timed, first = _in_turn(taking, count, rounds)
        for one, answers, tokens in zip(taking, timed, first, strict=True):
            if not one.seen.stopped:
                one.seen.samples[count], one.seen.first[count] = answers, tokens
                known = filter(None, (one.seen.memory_mib, memory_mib(one.side.pid)))
                one.seen.memory_mib = max(known, default=None)
    return {name: one.seen for name, one in contenders.items()}


def _in_turn(taking: list[_Contender], count: int, rounds: int) -> tuple[list[list[Sample]], list[list[Sample]]]:
    """Whole answers to `rounds` batches, and first tokens of FIRST_TOKENS more: a list for each contender."""
    prompts = _batches(count, WARMUPS + rounds + FIRST_TOKENS)
    with ThreadPoolExecutor(max(1, len(taking))) as pool:  # compiles at once what compiles on its first answer
        for batch in islice(prompts, WARMUPS):
            list(pool.map(_Contender.ask, taking, repeat(batch), repeat(OUTPUT_TOKENS)))
    timed: list[list[Sample]] = [[] for _ in taking]
    first: list[list[Sample]] = [[] for _ in taking]
    steps = [(timed, OUTPUT_TOKENS)] * rounds + [(first, 1)] * FIRST_TOKENS
    for index, (kept, tokens) in enumerate(progress.track(steps, f"{count} requests", unit="round")):
        batch = next(prompts)
        for position in turning(index, len(taking)):
            if sample := taking[position].ask(batch, tokens):
                kept[position].append(sample)
    return timed, first


def _batches(count: int, batches: int) -> Iterator[list[list[int]]]:
    """Fresh prompts for every batch, so that no prefix cache answers for a model."""
    prompts = gpu_model.prompts(batches * count, PROMPT_TOKENS, seed=count)
    return (prompts[start : start + count] for start in range(0, len(prompts), count))


def _note(name: str, count: int, seen: Seen, error: AssayError) -> str:
    done = f"figures stand up to {max(seen.samples)}" if seen.samples else "it has no figures"
    if isinstance(error, OutOfMemory):
        lower = "lower engine.kv_cache_mib or max_num_seqs of the recipe, --requests, or --together"
        return f"{name}: out of GPU memory at {count} requests: {done}; {lower}"
    return f"{name}: failed at {count} requests: {done}. {error}"
