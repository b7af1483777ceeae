"""The sides of the GPU benchmark: which there are, how they are loaded, and their interleaved rounds.

Every side gets the same prompts, in turning order. One that fails drops out and keeps the figures that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path

import runtimes
from benchmarks import random_model
from benchmarks.gpu import model, profiled
from benchmarks.measure import baseline
from benchmarks.measure.rounds import turning
from benchmarks.measure.side import OutOfMemory, Sample, Side, Spec
from core import plugins, progress
from core.errors import AssayError

PROMPT_TOKENS = OUTPUT_TOKENS = 128
# Of whole answers: a static cache compiles for the length that is asked, and its graph is captured in the second.
WARMUPS = 2
FIRST_TOKENS = 15  # requests for the time to first token alone
HUGGING_FACE = {
    "hf-bf16-dynamic": {"dtype": "bfloat16", "cache": "dynamic"},
    "hf-bf16-static": {"dtype": "bfloat16", "cache": "static"},
    "hf-fp16-static": {"dtype": "float16", "cache": "static"},
    "hf-fp32-static": {"dtype": "float32", "cache": "static"},
}
SIDES = (*HUGGING_FACE, *model.RECIPES)
# A static cache compiles again for every batch size; the fp16-against-fp32 row needs one request. A graph that was
# captured for one stream takes no more.
LIMITED = {"hf-bf16-static": (1, 8), "hf-fp16-static": (1,), "hf-fp32-static": (1,)}
LIMITED |= dict.fromkeys(("ort-fp16-graph", "ort-int4-graph"), (1,))


@contextmanager
def loaded(names: Sequence[str], threads: int, profiles: Path | None = None) -> Iterator[dict[str, Side | str]]:
    """Every side of `names`, loaded at once, or why it cannot be measured here. All have ended after the block.

    With `profiles`, a side writes `<name>.json` there when it finishes (see benchmarks/gpu/profiled.py).
    """
    started: dict[str, Side | str] = {}
    # The pool's threads stay until the sides have ended: a worker dies with the thread that started it.
    with ThreadPoolExecutor(len(names)) as pool:

        def start(name: str) -> None:
            started[name] = _start(name, threads, profiles / f"{name}.json" if profiles else None)
            one = started[name]
            progress.say(
                f"{name}: "
                + (f"not measured: {one}" if isinstance(one, str) else f"loaded in {one.load_ms / 1000:.0f} s")
            )

        try:
            list(pool.map(start, names))
            yield {name: started[name] for name in names}
        finally:
            for side in started.values():
                if isinstance(side, Side):
                    side.close()


def _start(name: str, threads: int, profile: Path | None) -> Side | str:
    if name in HUGGING_FACE:
        module = baseline.__name__
    else:
        runtime = model.RECIPES[name].runtime
        if why := runtimes.why_not_here(runtime):
            return why
        module = plugins.load("runtimes", runtime).__name__
    options = HUGGING_FACE.get(name, {}) | {"module": module, "profile": str(profile or "")}
    try:
        return Side(Spec.of(name, profiled, model.MODEL.variant(name), threads, **options))
    except AssayError as error:
        return str(error)


@dataclass
class Measured:
    """What one side gave, by number of requests: timed answers, and first tokens alone. `stopped`: why it failed."""

    samples: dict[int, list[Sample]] = field(default_factory=dict)
    first: dict[int, list[Sample]] = field(default_factory=dict)
    memory_mib: float | None = None
    stopped: str | None = None


class _Contender:
    """A loaded side with what it gave so far. Once it failed it is closed, and gives nothing more."""

    def __init__(self, side: Side) -> None:
        self.side, self.measured = side, Measured()

    def takes(self, count: int) -> bool:
        """Whether it goes on, and can answer `count` requests at once."""
        return not self.measured.stopped and count in LIMITED.get(self.side.spec.name, (count,))

    def ask(self, batch: list[list[int]], tokens: int) -> Sample | None:
        """A timed answer to the batch; None once it failed."""
        if self.measured.stopped:
            return None
        try:
            return self.side.generate(batch, tokens)
        except AssayError as error:
            self.measured.stopped = _note(self.side.spec.name, len(batch), self.measured, error)
            progress.say(self.measured.stopped)
            self.side.close()
            return None


def measure(
    sides: Mapping[str, Side], requests: Sequence[int], rounds: int, memory_mib: Callable[[int], float | None]
) -> dict[str, Measured]:
    """`rounds` timed answers of every side at each number of requests. `memory_mib(pid)` is asked after each."""
    contenders = {name: _Contender(side) for name, side in sides.items()}
    for count in sorted(set(requests)):
        taking = [one for one in contenders.values() if one.takes(count)]
        timed, first = _in_turn(taking, count, rounds)
        for one, answers, tokens in zip(taking, timed, first, strict=True):
            if not one.measured.stopped:
                one.measured.samples[count], one.measured.first[count] = answers, tokens
                known = filter(None, (one.measured.memory_mib, memory_mib(one.side.pid)))
                one.measured.memory_mib = max(known, default=None)
    return {name: one.measured for name, one in contenders.items()}


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
    prompts = random_model.prompts(batches * count, PROMPT_TOKENS, seed=count)
    return (prompts[start : start + count] for start in range(0, len(prompts), count))


def _note(name: str, count: int, measured: Measured, error: AssayError) -> str:
    done = f"figures stand up to {max(measured.samples)}" if measured.samples else "it has no figures"
    if isinstance(error, OutOfMemory):
        lower = "lower engine.kv_cache_mib or max_num_seqs of the recipe, --requests, or --together"
        return f"{name}: out of GPU memory at {count} requests: {done}; {lower}"
    return f"{name}: failed at {count} requests: {done}. {error}"
