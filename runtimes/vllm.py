"""vLLM: serves Hugging Face and compressed-tensors checkpoints on NVIDIA GPUs.

The engine runs in this process, so that ending the process frees the card. Source: vLLM 0.26, `LLMEngine`; it pins
torch 2.11, so it lives in an environment of its own (`make setup-gpu`) and is not in this project's lock.

Top to bottom: what measures (`VllmRuntime`), what serves (`VllmEngine`), and how both start and stop vLLM.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import RequestError, ResourceError, RuntimeFault
from host import gpu, interpreter
from models import manifest, tokenizer_identity, vllm_settings
from runtimes import Engine, Event, Generation, Logits, Sampling, TokenIds, Traits, check_ids

# Ours unless the user says otherwise: one process; no sampler that is compiled at the first request; no hub.
VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}
_started = count()


def _image_labels(folder: Path, folder_in_image: str) -> dict[str, str]:
    """The very engine that was measured, as a command, for a house that serves without this project's server."""
    variant = manifest.read(folder).variant
    arguments = vllm_settings.serve_arguments(vllm_settings.of(folder), folder_in_image, variant)
    return {"assay/vllm-serve": shlex.join(["vllm", "serve", *arguments])}


TRAITS = Traits(
    needs_gpu=True,
    environment=interpreter.GPU,
    requirements=("vllm",),
    out_of_memory=("out of memory", "free memory on device", "no available memory", "kv cache is needed"),
    image_labels=_image_labels,
)


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
    """The same engine for serving."""
    return VllmEngine(folder, threads, max_batch)


class VllmRuntime:
    """Generation and teacher forcing through the engine that serves."""

    name = "vllm"

    def __init__(self, folder: Path, threads: int) -> None:
        self.version = metadata.version("vllm")
        architecture = manifest.read(folder).architecture
        self._ends, self._rows = list(architecture.eos_token_ids), architecture.vocabulary
        # Raw logits of the whole vocabulary, so that divergence is a sum over all of it and not over a top k.
        self._engine: Any = _start(folder, threads, max_logprobs=-1, logprobs_mode="raw_logits")
        self._context = int(self._engine.model_config.max_model_len)
        self._names = count()

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Continuation of `prompts`, batched continuously; see the contract in runtimes/__init__.py.

        `on_step(i)` is called when every running request has its i-th token: prompts may be read over many steps.
        """
        from vllm.sampling_params import RequestOutputKind

        check_ids(prompts, self._rows)
        kind = RequestOutputKind.DELTA if on_step else RequestOutputKind.FINAL_ONLY
        ends = [] if ignore_eos else self._ends
        options = {"max_tokens": max_tokens, "ignore_eos": ignore_eos, "stop_token_ids": ends, "output_kind": kind}
        each = sampling or [Sampling()] * len(prompts)
        names = [
            self._submit(prompt, max_tokens, options | _chosen_by(how))
            for prompt, how in zip(prompts, each, strict=True)
        ]
        tokens: dict[str, list[int]] = {name: [] for name in names}
        running, reported = set(names), 0
        while self._engine.has_unfinished_requests():
            for output in _step(self._engine):
                tokens[output.request_id].extend(output.outputs[0].token_ids)
                if output.finished:
                    running.discard(output.request_id)
            if on_step:
                lengths = [len(tokens[name]) for name in running] or [max(map(len, tokens.values()))]
                for step in range(reported, min(lengths)):
                    on_step(step)
                reported = max(reported, min(lengths))
        return [_completion(tokens[name], ends) for name in names]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, one sequence at a time: vLLM gives the whole vocabulary as Python lists.

        Exact, but slow for a large vocabulary: 200 tokens of 152 000 words are 30 million numbers.
        """
        from vllm.sampling_params import RequestOutputKind

        check_ids(sequences, self._rows)
        options = {
            "max_tokens": 1,
            "temperature": 0.0,
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
                outputs += _step(self._engine)
            [output] = outputs
            # Entry i of the prompt's holds what was predicted for token i, from the tokens before it.
            parts = [_dense(output.prompt_logprobs)[1:], _dense(output.outputs[0].logprobs)]
            found.append(np.concatenate(parts))
        return found

    def close(self) -> None:
        """Free the model and the card's memory."""
        if self._engine is not None:
            _shut_down(self._engine)
            self._engine = None

    def _submit(self, tokens: TokenIds, max_tokens: int, options: dict[str, Any]) -> str:
        if len(tokens) + max_tokens > self._context:
            raise RequestError(
                f"prompt of {len(tokens)} tokens and max_tokens {max_tokens} exceed the engine's context of "
                f"{self._context}: lower generation.max_tokens or raise engine.max_model_len in the recipe's options"
            )
        name = str(next(self._names))
        _add(self._engine, name, tokens, **options)
        return name


class VllmEngine:
    """vLLM's own scheduler and paged KV cache. A version's manifest may allow fewer requests than `max_batch`."""

    name = "vllm"
    samples = True

    def __init__(self, folder: Path, threads: int, max_batch: int) -> None:
        self.version = metadata.version("vllm")
        architecture = manifest.read(folder).architecture
        self._ends, self._rows = frozenset(architecture.eos_token_ids), architecture.vocabulary
        self._engine: Any = _start(folder, threads)
        self.max_batch = min(max_batch, int(self._engine.vllm_config.scheduler_config.max_num_seqs))
        self.context_tokens = int(self._engine.model_config.max_model_len)
        self._handles = count()
        self._running: dict[int, frozenset[int]] = {}  # handle → the tokens that end it

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract."""
        from vllm.sampling_params import RequestOutputKind

        check_ids([prompt], self._rows)
        if len(prompt) + max_tokens > self.context_tokens:
            raise RequestError(f"{len(prompt)} + {max_tokens} tokens exceed the context of {self.context_tokens}")
        ends: frozenset[int] = frozenset() if sampling.ignore_eos else self._ends
        handle = next(self._handles)
        _add(
            self._engine,
            str(handle),
            prompt,
            max_tokens=max_tokens,
            ignore_eos=sampling.ignore_eos,
            stop_token_ids=sorted(ends),
            output_kind=RequestOutputKind.DELTA,
            **_chosen_by(sampling),
        )
        self._running[handle] = ends
        return handle

    def step(self) -> list[Event]:
        """See the contract."""
        if not self._running:
            return []
        return [event for output in _step(self._engine) for event in self._events(output)]

    def cancel(self, handle: int) -> None:
        """See the contract."""
        if self._running.pop(handle, None) is not None:
            self._engine.abort_request([str(handle)])

    def close(self) -> None:
        """See the contract."""
        if self._engine is not None:
            for handle in list(self._running):
                self.cancel(handle)
            _shut_down(self._engine)
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
        before = [Event(handle, token) for token in tokens[:-1]]
        if tokens and tokens[-1] in ends:  # even where it came as the last token allowed
            return [*before, Event(handle, None, "stop")]
        return [*before, Event(handle, tokens[-1] if tokens else None, part.finish_reason)]


def _start(folder: Path, threads: int, **changed: Any) -> Any:
    """vLLM's LLMEngine for the version in `folder`; `changed` are EngineArgs that differ from its manifest.

    The first one runs in this process, a later one in a process of its own: what vLLM keeps for CUDA graphs is the
    process's, and capturing for a second engine met an illegal memory access (vLLM 0.26, H200).
    Raises ResourceError saying what to lower when the card is too small.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    import torch
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    tokenizer_identity.verify(folder)  # with the libraries of this environment, before the minutes that a load takes
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    settings = vllm_settings.of(folder)
    arguments = EngineArgs(**vllm_settings.engine_arguments(settings, folder) | changed)
    try:
        return LLMEngine.from_engine_args(arguments, enable_multiprocessing=next(_started) > 0)
    except (RuntimeError, ValueError) as error:  # torch's and vLLM's own; neither has a common base
        if not TRAITS.is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of GPU memory while loading {folder}: in the recipe's options lower engine.max_model_len or "
            "engine.max_num_seqs, and give it as much of the card as is free (engine.kv_cache_mib, "
            f"engine.gpu_memory_utilization), or free the card ({error})"
        ) from error


def _add(engine: Any, name: str, tokens: TokenIds, **sampling: Any) -> None:
    """Queue a request; `sampling` are vLLM's SamplingParams. Token ids go in and come out, never text."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input

    engine.add_request(name, tokens_input(list(map(int, tokens))), SamplingParams(detokenize=False, **sampling))


def _chosen_by(sampling: Sampling) -> dict[str, Any]:
    """The part of vLLM's SamplingParams that chooses a token; a seed gives the request random numbers of its own."""
    names = ("temperature", "top_p", "top_k", "seed")
    return {name: getattr(sampling, name) for name in names}


def _step(engine: Any) -> list[Any]:
    """One step of vLLM's engine: the RequestOutputs that it gave."""
    try:
        return list(engine.step())
    except RuntimeError as error:  # torch's, of the kernels and of its allocator
        raise RuntimeFault(f"vLLM failed in a step: {error}") from error


def _shut_down(engine: Any) -> None:
    """Stop vLLM's engine and give the card's memory back."""
    import gc

    import torch

    engine.engine_core.shutdown()
    gc.collect()
    torch.cuda.empty_cache()


def _completion(tokens: list[int], ends: list[int]) -> Generation:
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
