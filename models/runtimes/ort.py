"""onnxruntime-genai: serves every ONNX variant on a CPU (and on CUDA with the CUDA wheel).

Source: onnxruntime-genai 0.18, `Generator` and `Config.overlay`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core import packages
from core.errors import RuntimeFault
from models.runtimes import Engine, Generation, Logits, TokenIds

GENAI_CONFIG = "genai_config.json"
# How long a worker spins between two operators before it sleeps. Left alone it spins for about a millisecond: small
# models lose half of their speed to that as soon as anything else wants a core, and gain nothing from it when not.
SPIN = {"session.intra_op.spin_duration_us": "10"}
SEED = 0  # decoding is greedy; left unset, the engine draws one from the system: 12 ms of each first token here
REQUIREMENTS = ("onnxruntime", "onnxruntime-genai")  # what a registered version needs to run
WHEELS = ("onnxruntime-genai", "onnxruntime-genai-cuda")  # the same module, without and with CUDA


def load(folder: Path, threads: int) -> OrtRuntime:
    """Load a variant's folder: genai_config.json, model.onnx and its external data."""
    return OrtRuntime(folder, threads)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The same model for serving: see _ort_engine.py."""
    from models.runtimes import _ort_engine

    return _ort_engine.load(folder, threads, max_batch)


class OrtRuntime:
    """Greedy generation and teacher forcing through the same engine, graph and settings that serve."""

    name = "ort"
    version = next(iter(packages.versions(WHEELS).values()))

    def __init__(self, folder: Path, threads: int) -> None:
        self._genai = import_genai()
        settings = json.loads((folder / GENAI_CONFIG).read_text())["model"]
        eos = settings["eos_token_id"]
        self._eos = set(eos if isinstance(eos, list) else [eos])
        self._pad = int(settings["pad_token_id"])
        self._context = int(settings["context_length"])
        self._model: Any = self._genai.Model(configure(self._genai, folder, threads))

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Greedy continuation of `prompts` as one batch; see the contract in models/runtimes."""
        longest = max(map(len, prompts))
        total = longest + max_tokens
        if total > self._context:
            raise RuntimeFault(
                f"prompt of {longest} tokens and max_tokens {max_tokens} exceed the model's context of "
                f"{self._context}: lower generation.max_tokens"
            )
        generator = self._generator(len(prompts), total, total if ignore_eos else 0)
        generator.append_tokens(self._padded(prompts))
        step = 0
        while not generator.is_done():
            generator.generate_next_token()
            if on_step:
                on_step(step)
            step += 1
        rows = [generator.get_sequence(row)[longest:] for row in range(len(prompts))]
        return [self._answer(row[:max_tokens], max_tokens) for row in rows]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing of one batch, as a single prefill."""
        padded = self._padded(sequences)
        generator = self._generator(len(sequences), padded.shape[1] + 1, 0)
        generator.append_tokens(padded)
        output = np.asarray(generator.get_output("logits"))
        return [output[row, : len(sequence)].astype(np.float32) for row, sequence in enumerate(sequences)]

    def close(self) -> None:
        """Free the model."""
        self._model = None

    def _generator(self, batch: int, max_length: int, min_length: int) -> Any:
        search = self._genai.GeneratorParams(self._model)
        search.set_search_options(
            batch_size=batch, max_length=max_length, min_length=min_length, do_sample=False, random_seed=SEED
        )
        return self._genai.Generator(self._model, search)

    def _padded(self, sequences: Sequence[TokenIds]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """int32 of shape (batch, longest), padded on the right: the engine finds each row's length by its padding."""
        padded = np.full((len(sequences), max(map(len, sequences))), self._pad, dtype=np.int32)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return padded

    def _answer(self, tokens: Sequence[int], max_tokens: int) -> Generation:
        for index, token in enumerate(tokens):
            if int(token) in self._eos:
                return Generation(tuple(map(int, tokens[:index])), finished=True)
        # The end token that ends the whole batch is not written into the sequence: being shorter tells of it.
        return Generation(tuple(map(int, tokens)), finished=len(tokens) < max_tokens)


def import_genai() -> Any:
    """onnxruntime_genai; it finds onnxruntime's library only when that is imported first."""
    import onnxruntime  # noqa: F401
    import onnxruntime_genai

    return onnxruntime_genai


def configure(genai: Any, folder: Path, threads: int, extra: dict[str, Any] | None = None) -> Any:
    """The engine's configuration with its threads set: left alone it used one core here, at half the speed."""
    config = genai.Config(str(folder))
    session = {"intra_op_num_threads": threads} | SPIN
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    if extra:
        config.overlay(json.dumps(extra))
    return config
