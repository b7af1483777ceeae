"""The baseline: Hugging Face `generate`, what a user of the model has today. A runtime to measure, not to serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from runtimes import Generation, Logits, TokenIds, Traits

DTYPES = ("float32", "bfloat16")  # on a CPU
KNOWN_DTYPES = (*DTYPES, "float16")
CACHES = ("dynamic", "static")
TRAITS = Traits(out_of_memory=("out of memory", "can't allocate memory"))  # torch's, of a GPU and of a CPU


def load(folder: Path, threads: int, dtype: str = "float32", cache: str = "dynamic") -> HfGenerate:
    """Load the model in `folder` with `AutoModelForCausalLM`, on the GPU where there is one.

    `cache` "static" lets `generate` compile the decode step (GPU only, a minute for each batch size).
    """
    for value, known in ((dtype, KNOWN_DTYPES), (cache, CACHES)):
        if value not in known:
            raise ConfigError(f"baseline option '{value}' is not known; known: {', '.join(known)}")
    return HfGenerate(folder, threads, dtype, cache)


class HfGenerate:
    """`generate` as its documentation shows it: greedy, dynamic KV cache, prompts padded on the left."""

    name = "hf-generate"

    def __init__(self, folder: Path, threads: int, dtype: str, cache: str) -> None:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.version: str = transformers.__version__
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        if self._device == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self._cache = {"cache_implementation": "static"} if cache == "static" else {}
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True
        )
        self._model.to(self._device).eval()
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
        """Greedy continuation, see `runtimes.Runtime.generate`."""
        torch = self._torch
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        step = iter(range(max_tokens))

        def after_token(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            if on_step:
                if self._device == "cuda":
                    torch.cuda.synchronize()  # as `generate` itself does right after this
                on_step(next(step))
            return torch.zeros(len(prompts), dtype=torch.bool, device=self._device)

        # No end token at all, instead of min_new_tokens: the mask over the vocabulary would cost the baseline time.
        self._model.generation_config.eos_token_id = None if ignore_eos else sorted(self._eos) or None
        output = self._model.generate(
            ids.to(self._device),
            attention_mask=mask.to(self._device),
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=self._pad,
            stopping_criteria=[after_token],
            **self._cache,
        )
        return [self._answer(row, ignore_eos) for row in output[:, width:].tolist()]

    def _answer(self, new_ids: list[int], ignore_eos: bool) -> Generation:
        end = next((i for i, token in enumerate(new_ids) if token in self._eos and not ignore_eos), None)
        return Generation(tuple(new_ids[:end]), finished=end is not None)

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing, one sequence at a time: float32 (len(sequence), vocabulary)."""
        with self._torch.inference_mode():
            return [
                self._model(self._torch.tensor([list(sequence)], device=self._device)).logits[0].float().cpu().numpy()
                for sequence in sequences
            ]

    def close(self) -> None:
        """Free the model."""
        self._model = None
