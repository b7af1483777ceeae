"""The baseline: Hugging Face `generate`, what a user of the model has today. A runtime to measure, not to serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ConfigError
from models.runtimes import Generation, Logits, TokenIds

DTYPES = ("float32", "bfloat16")


def load(folder: Path, threads: int, dtype: str = "float32") -> HfGenerate:
    """Load the model in `folder` with `AutoModelForCausalLM`; `dtype` is "float32" or "bfloat16"."""
    if dtype not in DTYPES:
        raise ConfigError(f"baseline dtype '{dtype}' is not known; known: {', '.join(DTYPES)}")
    return HfGenerate(folder, threads, dtype)


class HfGenerate:
    """`generate` as its documentation shows it: greedy, dynamic KV cache, prompts padded on the left."""

    name = "hf-generate"

    def __init__(self, folder: Path, threads: int, dtype: str) -> None:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.version: str = transformers.__version__
        self._torch = torch
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True
        ).eval()
        eos = self._model.generation_config.eos_token_id
        self._eos = frozenset([eos] if isinstance(eos, int) else eos or [])
        pad = self._model.generation_config.pad_token_id
        self._pad: int = pad if pad is not None else min(self._eos, default=0)

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Greedy continuation, see `models.runtimes.Runtime.generate`."""
        torch = self._torch
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        step = iter(range(max_tokens))

        def after_token(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            if on_step:
                on_step(next(step))
            return torch.zeros(len(prompts), dtype=torch.bool)

        # No end token at all, instead of min_new_tokens: the mask over the vocabulary would cost the baseline time.
        self._model.generation_config.eos_token_id = None if ignore_eos else sorted(self._eos) or None
        output = self._model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=self._pad,
            stopping_criteria=[after_token],
        )
        return [self._answer(row, ignore_eos) for row in output[:, width:].tolist()]

    def _answer(self, new_ids: list[int], ignore_eos: bool) -> Generation:
        end = next((i for i, token in enumerate(new_ids) if token in self._eos and not ignore_eos), None)
        return Generation(tuple(new_ids[:end]), finished=end is not None)

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, one sequence at a time: float32 (len(sequence), vocabulary)."""
        with self._torch.inference_mode():
            return [
                self._model(self._torch.tensor([list(sequence)])).logits[0].float().numpy().astype(np.float32)
                for sequence in sequences
            ]

    def close(self) -> None:
        """Free the model."""
        self._model = None
