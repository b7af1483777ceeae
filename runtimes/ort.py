"""onnxruntime-genai: serves every ONNX variant on a CPU (and on CUDA with the CUDA wheel).

Source: onnxruntime-genai 0.18, `Generator` and `Config.overlay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import RuntimeFault
from runtimes import Engine, Generation, Logits, Sampling, TokenIds, Traits, check_ids
from runtimes.onnxruntime_genai import genai_config
from runtimes.onnxruntime_genai.continuous_batching import ContinuousBatching
from runtimes.onnxruntime_genai.genai_engine import GenaiEngine
from runtimes.sampling import Sampler, next_tokens, samplers

SEED = 0  # the engine draws nothing; left unset, it takes one from the system: 12 ms of each first token here
TRAITS = Traits(
    max_sequences=32,  # onnxruntime-genai refuses a larger batch
    requirements=("onnxruntime", "onnxruntime-genai"),
    out_of_memory=("out of memory", "failed to allocate", "bad_alloc", "bad allocation"),
)


def load(folder: Path, threads: int) -> OrtRuntime:
    """Load a variant's folder: genai_config.json, model.onnx and its external data."""
    return OrtRuntime(folder, threads)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The same model for serving: our own batching where the graph has shared KV buffers on a CPU, else genai's."""
    settings = genai_config.read(folder)
    on_cpu = not settings["model"]["decoder"]["session_options"].get("provider_options")
    if on_cpu and settings["search"].get("past_present_share_buffer"):
        return ContinuousBatching(folder, threads, max_batch)
    return GenaiEngine(folder, threads, max_batch)


class OrtRuntime:
    """Generation and teacher forcing through the same engine, graph and settings that serve."""

    name = genai_config.NAME

    def __init__(self, folder: Path, threads: int) -> None:
        self.version = genai_config.version()
        self._genai = genai_config.import_genai()
        settings = genai_config.read(folder)
        self._eos = genai_config.ends(settings)
        self._rows = genai_config.rows(settings)
        self._context = int(settings["model"]["context_length"])
        self._model: Any = self._genai.Model(genai_config.configure(self._genai, folder, threads))

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Continuation of `prompts` as one batch; see the contract in runtimes/__init__.py."""
        check_ids(prompts, self._rows)
        longest = max(map(len, prompts))
        total = longest + max_tokens
        if total > self._context:
            raise RuntimeFault(
                f"prompt of {longest} tokens and max_tokens {max_tokens} exceed the model's context of "
                f"{self._context}: lower generation.max_tokens"
            )
        chosen_by = samplers(sampling, len(prompts))
        generator = self._generator(len(prompts), total, total if ignore_eos else 0)
        generator.append_tokens(self._padded(prompts))
        step = 0
        while not generator.is_done():
            if any(chosen_by):
                self._draw(generator, chosen_by, ignore_eos)
            generator.generate_next_token()
            if on_step:
                on_step(step)
            step += 1
        rows = [generator.get_sequence(row)[longest:] for row in range(len(prompts))]
        return [self._answer(row[:max_tokens], max_tokens) for row in rows]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing of one batch, as a single prefill."""
        check_ids(sequences, self._rows)
        padded = self._padded(sequences)
        generator = self._generator(len(sequences), padded.shape[1] + 1, 0)
        generator.append_tokens(padded)
        output = np.asarray(generator.get_output("logits"))
        return [output[row, : len(sequence)].astype(np.float32) for row, sequence in enumerate(sequences)]

    def close(self) -> None:
        """Free the model."""
        self._model = None

    def _draw(self, generator: Any, chosen_by: list[Sampler | None], ignore_eos: bool) -> None:
        """Choose the tokens that the engine's greedy search takes next: it has one seed for the whole batch."""
        logits = np.asarray(generator.get_logits())
        rows = logits.reshape(len(chosen_by), -1)
        if ignore_eos:
            rows[:, list(self._eos)] = -np.inf  # as its own search does below `min_length`
        only = np.full_like(rows, np.finfo(np.float32).min)
        only[np.arange(len(rows)), next_tokens(chosen_by, rows)] = 0
        generator.set_logits(only.reshape(logits.shape))

    def _generator(self, batch: int, max_length: int, min_length: int) -> Any:
        search = self._genai.GeneratorParams(self._model)
        search.set_search_options(
            batch_size=batch, max_length=max_length, min_length=min_length, do_sample=False, random_seed=SEED
        )
        return self._genai.Generator(self._model, search)

    def _padded(self, sequences: Sequence[TokenIds]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """int32 of shape (batch, longest), padded on the right: the engine finds each row's length by its padding."""
        padded = np.full((len(sequences), max(map(len, sequences))), genai_config.PADDING, dtype=np.int32)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return padded

    def _answer(self, tokens: Sequence[int], max_tokens: int) -> Generation:
        for index, token in enumerate(tokens):
            if int(token) in self._eos:
                return Generation(tuple(map(int, tokens[:index])), finished=True)
        # The end token that ends the whole batch is not written into the sequence: being shorter tells of it.
        return Generation(tuple(map(int, tokens)), finished=len(tokens) < max_tokens)
