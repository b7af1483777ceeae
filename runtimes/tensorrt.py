"""TensorRT: runs an engine that `compile` made, where the card allows it.

`load` takes an engine's folder, or a variant's: then the engine made of that very variant for this card is looked up
below artifacts/engines, or compiled now. TensorRT-RTX does not run on Hopper. Everything but the execution itself is
the same anywhere and is tested on a CPU, with onnxruntime running the graph that the engine was compiled from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from core.errors import RuntimeFault
from host import gpu
from models.families import Architecture
from runtimes import Generation, Logits, TokenIds
from runtimes._tensorrt_session import EngineSession, Session
from runtimes._tensorrt_steps import Batch
from trt import library, profiles
from trt.profiles import Profile

REQUIREMENTS = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "torch")  # of a registered version


def available() -> str | None:
    """Why no engine can be executed on this machine; None if one can."""
    reason = library.why_not_run(library.installed(), gpu.card())
    if reason is None:
        import torch

        if not torch.cuda.is_available():
            reason = f"torch {torch.__version__} has no CUDA, and engines run on its buffers"
    return reason


def load(folder: Path, threads: int) -> TensorRTRuntime:
    """The engine in `folder`, or the one made of the variant in `folder` for this card. `threads` has no effect."""
    from trt import engines

    card = gpu.card()
    if (reason := available()) or card is None:
        raise RuntimeFault(f"{folder} cannot run here: {reason}")
    found = engines.load(folder, card)
    session = EngineSession(found.library, found.plan, found.architecture, found.profiles)
    return TensorRTRuntime(session, found.profiles, found.architecture, found.library.version)


class TensorRTRuntime:
    """Greedy generation and teacher forcing over a session; what it may be asked is decided by its profiles."""

    name = "tensorrt"

    def __init__(self, session: Session, known: Sequence[Profile], architecture: Architecture, version: str) -> None:
        self.version = version
        self._session, self._profiles = session, list(known)
        self._ends = set(architecture.eos_token_ids)
        self._largest = max(profile.batch.high for profile in known)

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See the contract in models/runtimes. More prompts than the profiles take are split, unless they are timed.

        Raises RuntimeFault before the first step when a later one would exceed every profile.
        """
        size = len(prompts) if on_step else self._largest
        answers: list[Generation] = []
        for start in range(0, len(prompts), size):
            answers += self._generate(prompts[start : start + size], max_tokens, ignore_eos, on_step)
        return answers

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, each batch as a single prefill."""
        found: list[Logits] = []
        for start in range(0, len(sequences), self._largest):
            part = sequences[start : start + self._largest]
            feed = Batch(part).prefill()
            output = self._session.step(self._choose(feed.batch, feed.length, 0), feed).cpu().float().numpy()
            found += [np.ascontiguousarray(output[row, : len(sequence)]) for row, sequence in enumerate(part)]
        return found

    def close(self) -> None:
        """Free the engine. Calling it twice is fine."""
        self._session.close()

    def _generate(
        self, prompts: Sequence[TokenIds], max_tokens: int, ignore_eos: bool, on_step: Callable[[int], None] | None
    ) -> list[Generation]:
        batch = Batch(prompts)
        feed = batch.prefill()
        profile = self._choose(feed.batch, feed.length, 0)
        if max_tokens > 1:
            self._choose(feed.batch, 1, feed.length + max_tokens - 2)  # the last step, before the first
        ends: set[int] = set() if ignore_eos else self._ends
        answers: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)
        rows, at = list(range(len(prompts))), (batch.lengths - 1).tolist()
        for step in range(max_tokens):
            logits = self._session.step(profile, feed)
            tokens: list[int] = logits[rows, at].argmax(-1).tolist()
            for row, token in enumerate(tokens):
                if token in ends:
                    finished[row] = True
                elif not finished[row]:
                    answers[row].append(token)
            if on_step:
                on_step(step)
            if all(finished) or step + 1 == max_tokens:
                break
            feed = batch.decode(tokens)
            profile = self._choose(feed.batch, 1, feed.past)
            at = [0] * len(prompts)
        return [Generation(tuple(answer), done) for answer, done in zip(answers, finished, strict=True)]

    def _choose(self, batch: int, length: int, past: int) -> int:
        return profiles.choose(self._profiles, batch, length, past)
