"""vLLM: serves Hugging Face and compressed-tensors checkpoints on NVIDIA GPUs.

The engine runs in this process, so that ending the process frees the card. Source: vLLM 0.26, `LLMEngine`; it pins
torch 2.11, so it lives in an environment of its own (`make setup-gpu`) and is not in this project's lock.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import RuntimeFault
from host import gpu, interpreter
from models import manifest
from runtimes import Engine, Generation, Logits, TokenIds, _vllm_engine, _vllm_start

REQUIREMENTS = ("vllm",)  # what a registered version needs to run
ENVIRONMENT = interpreter.GPU


def available() -> str | None:
    """Why vLLM cannot run on this machine; None if it can."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed: `make setup-gpu` on a machine with an NVIDIA GPU"
    why = gpu.why_no_gpu()
    return f"{why}: vLLM's CUDA build needs one" if why else None


def load(folder: Path, threads: int) -> VllmRuntime:
    """Load a version's folder with the engine settings of its manifest."""
    return VllmRuntime(folder, threads)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The same engine for serving: see _vllm_engine.py."""
    return _vllm_engine.VllmEngine(folder, threads, max_batch)


class VllmRuntime:
    """Greedy generation and teacher forcing through the engine that serves."""

    name = "vllm"

    def __init__(self, folder: Path, threads: int) -> None:
        self.version = metadata.version("vllm")
        self._ends = list(manifest.read(folder).architecture.eos_token_ids)
        # Raw logits of the whole vocabulary, so that divergence is a sum over all of it and not over a top k.
        self._engine: Any = _vllm_start.start(folder, threads, max_logprobs=-1, logprobs_mode="raw_logits")
        self._context = int(self._engine.model_config.max_model_len)
        self._names = count()

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Greedy continuation of `prompts`, batched continuously; see the contract in models/runtimes.

        `on_step(i)` is called when every running request has its i-th token: prompts may be read over many steps.
        """
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind.DELTA if on_step else RequestOutputKind.FINAL_ONLY
        ends = [] if ignore_eos else self._ends
        options = {"max_tokens": max_tokens, "ignore_eos": ignore_eos, "stop_token_ids": ends, "output_kind": kind}
        names = [self._submit(prompt, max_tokens, options) for prompt in prompts]
        tokens: dict[str, list[int]] = {name: [] for name in names}
        running, told = set(names), 0
        while self._engine.has_unfinished_requests():
            for output in self._step():
                tokens[output.request_id].extend(output.outputs[0].token_ids)
                if output.finished:
                    running.discard(output.request_id)
            if on_step:
                lengths = [len(tokens[name]) for name in running] or [max(map(len, tokens.values()))]
                for step in range(told, min(lengths)):
                    on_step(step)
                told = max(told, min(lengths))
        return [self._answer(tokens[name], ends) for name in names]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, one sequence at a time: vLLM hands the whole vocabulary over as Python lists.

        Exact, but slow for a large vocabulary: 200 tokens of 152 000 words are 30 million numbers.
        """
        from vllm.sampling_params import RequestOutputKind

        options = {
            "max_tokens": 1,
            "prompt_logprobs": -1,
            "logprobs": -1,
            "flat_logprobs": True,
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        found = []
        for sequence in sequences:
            self._submit(sequence, 1, options)
            outputs: list[Any] = []
            while self._engine.has_unfinished_requests():
                outputs += self._step()
            [output] = outputs
            # Entry i of the prompt's holds what was predicted for token i, from the tokens before it.
            parts = [_dense(output.prompt_logprobs)[1:], _dense(output.outputs[0].logprobs)]
            found.append(np.concatenate(parts))
        return found

    def close(self) -> None:
        """Free the model and the card's memory."""
        if self._engine is not None:
            _vllm_start.shut_down(self._engine)
            self._engine = None

    def _submit(self, tokens: TokenIds, max_tokens: int, options: dict[str, Any]) -> str:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input

        if len(tokens) + max_tokens > self._context:
            raise RuntimeFault(
                f"prompt of {len(tokens)} tokens and max_tokens {max_tokens} exceed the engine's context of "
                f"{self._context}: lower generation.max_tokens or raise engine.max_model_len in the recipe's options"
            )
        name = str(next(self._names))
        sampling = SamplingParams(temperature=0.0, detokenize=False, **options)
        self._engine.add_request(name, tokens_input(list(map(int, tokens))), sampling)
        return name

    def _step(self) -> list[Any]:
        try:
            return list(self._engine.step())
        except RuntimeError as error:  # torch's, of the kernels and of its allocator
            raise RuntimeFault(f"vLLM failed in a step: {error}") from error

    def _answer(self, tokens: list[int], ends: list[int]) -> Generation:
        """The token that ended it is the last one; nothing follows it."""
        finished = bool(tokens) and tokens[-1] in ends
        return Generation(tuple(tokens[:-1] if finished else tokens), finished)


def _dense(flat: Any) -> NDArray[np.float32]:
    """vLLM's FlatLogprobs as float32 of shape (positions, vocabulary); the first prompt position is empty (NaN)."""
    starts, ends = np.asarray(flat.start_indices), np.asarray(flat.end_indices)
    rows = np.repeat(np.arange(len(starts)), ends - starts)
    columns = np.asarray(flat.token_ids, dtype=np.int64)
    dense = np.full((len(starts), int(columns.max()) + 1), np.nan, np.float32)
    dense[rows, columns] = np.asarray(flat.logprobs, dtype=np.float32)
    if np.isnan(dense[ends > starts]).any():
        raise RuntimeFault(
            "vLLM did not give every word of the vocabulary: divergence over a part of it is no figure"
        )
    return dense
