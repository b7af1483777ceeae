"""Serving with vLLM's own scheduler and paged KV cache, behind the contract of models/runtimes."""

from __future__ import annotations

from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

from core.errors import RuntimeFault
from models import manifest
from runtimes import Event, Sampling, TokenIds, _vllm_start


class VllmEngine:
    """`LLMEngine.step` once a step. A version's manifest may allow fewer requests at once than `max_batch`."""

    name = "vllm"
    samples = True

    def __init__(self, folder: Path, threads: int, max_batch: int) -> None:
        self.version = metadata.version("vllm")
        self._ends = frozenset(manifest.read(folder).architecture.eos_token_ids)
        self._engine: Any = _vllm_start.start(folder, threads)
        self.max_batch = min(max_batch, int(self._engine.vllm_config.scheduler_config.max_num_seqs))
        self.context_tokens = int(self._engine.model_config.max_model_len)
        self._handles = count()
        self._running: dict[int, frozenset[int]] = {}  # handle → the tokens that end it

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        if len(prompt) + max_tokens > self.context_tokens:
            raise RuntimeFault(f"{len(prompt)} + {max_tokens} tokens exceed the context of {self.context_tokens}")
        ends: frozenset[int] = frozenset() if sampling.ignore_eos else self._ends
        options = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            max_tokens=max_tokens,
            ignore_eos=sampling.ignore_eos,
            stop_token_ids=sorted(ends),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        handle = next(self._handles)
        self._engine.add_request(str(handle), tokens_input(list(map(int, prompt))), options)
        self._running[handle] = ends
        return handle

    def step(self) -> list[Event]:
        """See the contract."""
        if not self._running:
            return []
        try:
            outputs = self._engine.step()
        except RuntimeError as error:  # torch's, of the kernels and of its allocator
            raise RuntimeFault(f"vLLM failed in a step: {error}") from error
        return [event for output in outputs for event in self._events(output)]

    def cancel(self, handle: int) -> None:
        """See the contract."""
        if self._running.pop(handle, None) is not None:
            self._engine.abort_request([str(handle)])

    def close(self) -> None:
        """See the contract."""
        if self._engine is not None:
            for handle in list(self._running):
                self.cancel(handle)
            _vllm_start.shut_down(self._engine)
            self._engine = None

    def _events(self, output: Any) -> list[Event]:
        """An event for each token of one request's output; none once it was cancelled."""
        handle = int(output.request_id)
        if handle not in self._running:
            return []
        part = output.outputs[0]
        tokens = list(part.token_ids)
        if not output.finished:
            return [Event(handle, token) for token in tokens]
        ends = self._running.pop(handle)
        if part.finish_reason not in ("stop", "length"):
            return [Event(handle, None, "error", f"vLLM ended it: {part.finish_reason}")]
        if tokens and tokens[-1] in ends:
            return [*(Event(handle, token) for token in tokens[:-1]), Event(handle, None, "stop")]
        if not tokens:
            return [Event(handle, None, part.finish_reason)]
        return [*(Event(handle, token) for token in tokens[:-1]), Event(handle, tokens[-1], part.finish_reason)]
