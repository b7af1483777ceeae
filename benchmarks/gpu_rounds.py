"""Interleaved rounds over every loaded side: the same prompts, in turning order. A side that fails drops out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.rounds import FIRST_TOKENS, turning
from bench.side import OutOfMemory, Sample, Side
from benchmarks import gpu_model
from benchmarks.gpu_sides import LIMITED
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


def measure(
    sides: Mapping[str, Side], requests: Sequence[int], rounds: int, memory_mib: Callable[[int], float | None]
) -> dict[str, Seen]:
    """`rounds` timed answers of every side at each number of requests. `memory_mib(pid)` is asked after each."""
    seen = {name: Seen() for name in sides}
    for count in sorted(set(requests)):
        names = [name for name in sides if count in LIMITED.get(name, (count,)) and not seen[name].stopped]
        prompts = _batches(count, WARMUPS + rounds + FIRST_TOKENS)

        def ask(name: str, batch: list[list[int]], tokens: int, count: int = count) -> Sample | None:
            if seen[name].stopped:
                return None
            try:
                return sides[name].generate(batch, tokens)
            except AssayError as error:
                seen[name].stopped = _note(name, count, seen[name], error)
                progress.say(seen[name].stopped or "")
                sides[name].close()
                return None

        with ThreadPoolExecutor(max(1, len(names))) as pool:  # compiles at once what compiles on its first answer
            for _ in range(WARMUPS):
                batch = next(prompts)
                list(pool.map(lambda name, batch=batch: ask(name, batch, OUTPUT_TOKENS), names))
        timed: dict[str, list[Sample]] = {name: [] for name in names}
        first: dict[str, list[Sample]] = {name: [] for name in names}
        steps = [(timed, OUTPUT_TOKENS)] * rounds + [(first, 1)] * FIRST_TOKENS
        for index, (kept, tokens) in enumerate(progress.track(steps, f"{count} requests", unit="round")):
            batch = next(prompts)
            for position in turning(index, len(names)):
                if sample := ask(names[position], batch, tokens):
                    kept[names[position]].append(sample)
        for name in names:
            if not seen[name].stopped:
                seen[name].samples[count], seen[name].first[count] = timed[name], first[name]
                seen[name].memory_mib = max(
                    filter(None, (seen[name].memory_mib, memory_mib(sides[name].pid))), default=None
                )
    return seen


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
