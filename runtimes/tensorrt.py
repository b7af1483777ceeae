"""TensorRT: runs an engine that `compile` made, where the card allows it.

`load` takes an engine's folder, or a variant's: then the engine made of that very variant for this card is looked up
below artifacts/engines, or compiled now. TensorRT-RTX does not run on Hopper. Everything but the execution itself is
the same anywhere and is tested on a CPU, with onnxruntime running the graph that the engine was compiled from.

Top to bottom: the runtime, the session that executes an engine, what each step feeds to it. Source: TensorRT's Python
API, IExecutionContext (set_input_shape, set_tensor_address, execute_async_v3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import RuntimeFault
from host import gpu
from models.families import Architecture
from runtimes import Generation, Logits, Sampling, TokenIds, Traits, check_ids
from runtimes.sampling import Sampler, next_tokens, samplers
from trt import library, profiles
from trt.library import Library
from trt.profiles import Profile

TRAITS = Traits(needs_gpu=True, requirements=("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "torch"))
TOKENS = ("input_ids", "attention_mask", "position_ids")
Ids: TypeAlias = NDArray[np.int64]


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
    """Generation and teacher forcing over a session; what it may be asked is decided by its profiles."""

    name = "tensorrt"

    def __init__(self, session: Session, known: Sequence[Profile], architecture: Architecture, version: str) -> None:
        self.version = version
        self._session, self._profiles = session, list(known)
        self._ends, self._rows = set(architecture.eos_token_ids), architecture.vocabulary
        self._largest = max(profile.batch.high for profile in known)

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See the contract. More prompts than the profiles take are split, unless they are timed.

        Raises RuntimeFault before the first step when a later one would exceed every profile.
        """
        check_ids(prompts, self._rows)
        chosen_by = samplers(sampling, len(prompts))
        size = len(prompts) if on_step else self._largest
        answers: list[Generation] = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            answers += self._generate(prompts[part], max_tokens, chosen_by[part], ignore_eos, on_step)
        return answers

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, each batch as a single prefill."""
        check_ids(sequences, self._rows)
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
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        chosen_by: list[Sampler | None],
        ignore_eos: bool,
        on_step: Callable[[int], None] | None,
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
            logits = self._session.step(profile, feed)[rows, at]
            drawn = any(chosen_by)
            tokens: list[int] = (
                next_tokens(chosen_by, logits.float().cpu().numpy()) if drawn else logits.argmax(-1).tolist()
            )
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


class Session(Protocol):
    """Executes steps over a KV cache that it keeps; a feed with `past` 0 begins a new batch."""

    def step(self, profile: int, feed: Feed) -> Any:
        """Logits as a torch tensor of shape (batch, length, vocabulary), valid until the next step."""
        ...

    def close(self) -> None: ...


class EngineSession:
    """One engine on the card: torch tensors as buffers, bound by name; present and past change places at each step.

    Buffers are made for the largest batch so far and the whole context; trt/make.py counts them.
    """

    def __init__(
        self,
        library: Library,
        plan: bytes,
        architecture: Architecture,
        known: Sequence[Profile],
        device: str = "cuda",
    ) -> None:
        import torch

        self._torch, self._architecture, self._device = torch, architecture, device
        module = library.module
        self._runtime = module.Runtime(module.Logger(module.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context: Any = self._engine.create_execution_context() if self._engine else None
        if self._context is None:
            raise RuntimeFault(
                f"{library.name} {library.version} cannot load this engine here: it was compiled for another GPU or "
                "version, or memory is short; run `python -m stages.compile` on this machine"
            )
        self._stream = torch.cuda.Stream() if device == "cuda" else None
        self._total = max(profile.past.high + profile.length.high for profile in known)
        self._rows = 0  # that the cache has room for
        self._sides: list[dict[str, Any]] = []  # past, present
        self._logits: Any = None

    def step(self, profile: int, feed: Feed) -> Any:
        """Run the engine once. Raises RuntimeFault when a shape or the execution is refused."""
        torch, context = self._torch, self._context
        handle = self._stream.cuda_stream if self._stream else 0
        inputs, outputs = shapes(self._architecture, feed)
        self._make_room(feed.batch, math.prod(outputs["logits"]))
        with torch.cuda.stream(self._stream):  # does nothing for None
            context.set_optimization_profile_async(profile, handle)
            bound = {name: torch.from_numpy(getattr(feed, name)).to(self._device) for name in TOKENS}
            past, present = self._sides
            bound |= {f"past_key_values.{name}": buffer for name, buffer in past.items()}
            bound |= {f"present.{name}": buffer for name, buffer in present.items()} | {"logits": self._logits}
            for name, shape in inputs.items():
                if not context.set_input_shape(name, shape):
                    raise RuntimeFault(f"the engine takes no {name} of shape {shape} in profile {profile}")
            for name, tensor in bound.items():
                context.set_tensor_address(name, tensor.data_ptr())
            if not context.execute_async_v3(handle):
                raise RuntimeFault("the engine did not execute: see TensorRT's message above")
        if self._stream:
            self._stream.synchronize()
        self._sides.reverse()  # what this step gave is what the next one takes
        return self._logits[: math.prod(outputs["logits"])].view(outputs["logits"])

    def close(self) -> None:
        """Free the engine and its buffers. Calling it twice is fine."""
        self._context = self._engine = self._runtime = None
        self._sides, self._logits = [], None
        self._torch.cuda.empty_cache()

    def _make_room(self, batch: int, logits: int) -> None:
        """Buffers for `batch` rows and `logits` elements, never empty: TensorRT wants an address for every tensor.

        A batch grows between two prefills only, when what the cache held is no longer wanted.
        """
        a, torch = self._architecture, self._torch
        try:
            if batch > self._rows:
                self._sides, self._rows = [], 0  # freed first
                size, names = batch * a.kv_heads * self._total * a.head_dim, profiles.cache_names(a.layers)
                self._sides = [{name: self._buffer(size) for name in names} for _ in ("past", "present")]
                self._rows = batch
            if self._logits is None or logits > self._logits.numel():
                self._logits = None
                self._logits = self._buffer(logits)
        except torch.OutOfMemoryError as error:
            raise RuntimeFault(
                f"GPU out of memory for the KV cache and logits of batch {batch} ({error}): lower the batch, or free "
                "the card, or lower compile.context_tokens and compile again"
            ) from error

    def _buffer(self, elements: int) -> Any:
        return self._torch.empty(elements, dtype=self._torch.float16, device=self._device)


@dataclass(frozen=True)
class Feed:
    """int64 inputs of one step: (batch, length), (batch, past + length), (batch, length); and the cached columns."""

    input_ids: Ids
    attention_mask: Ids
    position_ids: Ids
    past: int

    @property
    def batch(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def length(self) -> int:
        return int(self.input_ids.shape[1])


class Batch:
    """What each step of one batch feeds to the engine, from its prefill on. Pure: numpy in, numpy out.

    Prompts are padded on the right, where causal attention never lets a real token see them; the attention mask hides
    the same columns of the cache from every later step. A row is `prompt, padding, completion`; its positions skip
    the gap.
    """

    def __init__(self, prompts: Sequence[TokenIds]) -> None:
        self.lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        width = int(self.lengths.max())
        self._columns = np.arange(width)
        self._mask: Ids = (self._columns[None, :] < self.lengths[:, None]).astype(np.int64)
        self._ids = np.zeros_like(self._mask)
        for row, prompt in enumerate(prompts):
            self._ids[row, : len(prompt)] = prompt
        self._generated = 0

    def prefill(self) -> Feed:
        """All prompts over an empty cache. The last real token of row i stands in column `lengths[i] - 1`."""
        return Feed(self._ids, self._mask, np.broadcast_to(self._columns, self._ids.shape).copy(), past=0)

    def decode(self, tokens: Sequence[int]) -> Feed:
        """One new token for each row, over everything fed so far."""
        past = self._mask.shape[1]
        self._mask = np.concatenate([self._mask, np.ones((len(tokens), 1), np.int64)], axis=1)
        positions = (self.lengths + self._generated)[:, None]
        self._generated += 1
        return Feed(np.array(tokens, dtype=np.int64)[:, None], self._mask, positions, past)


def shapes(architecture: Architecture, feed: Feed) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shape of every input and of every output of a step, by name."""
    total = feed.past + feed.length
    cache = (feed.batch, architecture.kv_heads, total, architecture.head_dim)
    outputs: dict[str, Any] = {"logits": (feed.batch, feed.length, architecture.vocabulary)}
    outputs |= {f"present.{name}": cache for name in profiles.cache_names(architecture.layers)}
    return profiles.input_shapes(architecture, feed.batch, feed.length, feed.past), outputs
