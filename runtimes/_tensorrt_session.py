"""One engine on the card: torch tensors as buffers, addresses bound by name, present and past swapped at each step.

Source: TensorRT's Python API, IExecutionContext (set_input_shape, set_tensor_address, execute_async_v3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from core.errors import RuntimeFault
from models.families import Architecture
from runtimes._tensorrt_steps import Feed, shapes
from trt import profiles
from trt.library import Library
from trt.profiles import Profile


class Session(Protocol):
    """Executes steps over a KV cache that it keeps; a feed with `past` 0 begins a new batch."""

    def step(self, profile: int, feed: Feed) -> Any:
        """Logits as a torch tensor of shape (batch, length, vocabulary), valid until the next step."""
        ...

    def close(self) -> None: ...


class EngineSession:
    """Buffers are made for the largest batch so far and the whole context; trt/memory.py counts them."""

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


TOKENS = ("input_ids", "attention_mask", "position_ids")
