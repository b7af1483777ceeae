"""onnxruntime-genai on an NVIDIA GPU: the same engine code as `ort`, with the CUDA wheels.

A graph built with CUDA graphs runs one stream at a time; one built with paged attention runs through `og.Engine`.
Needs onnxruntime-gpu and onnxruntime-genai-cuda in place of the CPU wheels (they share their module names).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import RuntimeFault
from host import gpu, interpreter
from runtimes import Engine, Generation, Logits, Runtime, Sampling, TokenIds, Traits, ort
from runtimes.onnxruntime_genai import genai_config

TRAITS = Traits(
    needs_gpu=True,
    environment=interpreter.GPU,
    max_sequences=ort.TRAITS.max_sequences,
    requirements=("onnxruntime-gpu", "onnxruntime-genai-cuda"),
    out_of_memory=ort.TRAITS.out_of_memory,
)
PAGED_BATCH = 128


def available() -> str | None:
    """Why it cannot run on this machine; None if it can."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "onnxruntime has no CUDA provider here: `make setup-gpu` on a machine with an NVIDIA GPU"
    return gpu.why_no_gpu()


def load(folder: Path, threads: int) -> Runtime:
    """Load a version's folder for one batch at a time."""
    _libraries()
    if is_paged(folder):
        return EngineRuntime(engine(folder, threads, PAGED_BATCH))
    return ort.load(folder, threads)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The same model for serving."""
    _libraries()
    return ort.engine(folder, threads, max_batch)


def is_paged(folder: Path) -> bool:
    """Whether the graph was built with paged attention, so that requests join a running batch."""
    return "dynamic_batching" in genai_config.read(folder).get("engine", {})


def _libraries() -> None:
    """CUDA and cuDNN from their wheels, where the system has none on its library path."""
    import onnxruntime

    onnxruntime.preload_dlls()


class EngineRuntime:
    """A serving engine as a runtime, for a graph that only an engine can run. It gives tokens and no logits."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.version = engine.name, engine.version
        self._engine = engine

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See the contract; at most `max_batch` prompts run at once, the others wait.

        `on_step(i)` is called when every running request has its i-th token.
        """
        each = [replace(one, ignore_eos=ignore_eos) for one in sampling or [Sampling()] * len(prompts)]
        waiting = list(enumerate(zip(prompts, each, strict=True)))
        places: dict[int, int] = {}  # handle → index of its prompt
        tokens: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)
        left, reported = set(range(len(prompts))), 0
        while left:
            while waiting and len(places) < self._engine.max_batch:
                index, (prompt, how) = waiting.pop(0)
                places[self._engine.submit(prompt, max_tokens, how)] = index
            for event in self._engine.step():
                index = places[event.handle]
                if event.finish == "error":
                    raise RuntimeFault(f"{self.name} failed on prompt {index}: {event.error}")
                if event.token is not None:
                    tokens[index].append(event.token)
                if event.finish:
                    finished[index] = event.finish == "stop"
                    left.discard(index)
                    del places[event.handle]
            if on_step:
                reached = min(len(tokens[index]) for index in left) if left else max(map(len, tokens))
                for step in range(reported, reached):
                    on_step(step)
                reported = max(reported, reached)
        return [Generation(tuple(made), done) for made, done in zip(tokens, finished, strict=True)]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Always a RuntimeFault."""
        raise RuntimeFault(f"{self.name} runs this graph through its engine, which gives tokens and no logits")

    def close(self) -> None:
        """Free the model."""
        self._engine.close()
