"""Random models of real ones' shapes, and their variants, made by the same export and quantizers.

Speed does not depend on what the weights say, nor on what calibration saw. Embeddings are untied: the head is a
matmul of its own, as in the DeepSeek-R1 distills.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from calibration.params import CalibrateParams
from core import files, progress
from data import items
from data.records import Item
from models.params import Recipe
from quantizers import Context
from quantizers.parts import version

VOCABULARY = 151_936
SPECIAL_IDS = 3  # ids below are the tokenizer's pad, bos and eos


def prompts(count: int, tokens: int, seed: int) -> list[list[int]]:
    """`count` prompts of random token ids, all of `tokens` tokens."""
    source = random.Random(seed)
    return [[source.randrange(SPECIAL_IDS, VOCABULARY) for _ in range(tokens)] for _ in range(count)]


@dataclass(frozen=True)
class RandomModel:
    """A Qwen2 model and its variants by name, kept in `folder` until that is deleted.

    `shape` are fields of a Qwen2Config. `calibrate` is for recipes that need the export and the activations'
    statistics; without it, recipes get the original weights and calibration prompts only.
    """

    folder: Path
    shape: Mapping[str, int | float]
    recipes: Mapping[str, Recipe]
    calibration_items: int
    calibration_tokens: int
    calibrate: CalibrateParams | None = None

    @property
    def model(self) -> Path:
        """The original weights' folder."""
        return self.folder / "model"

    def variant(self, name: str) -> Path:
        """A variant's folder; the original's for a name without a recipe."""
        return self.folder / "variants" / name if name in self.recipes else self.model

    def prepare(self, names: Sequence[str], threads: int, at_once: int = 1) -> None:
        """Make the model and the variants of `names` where they are missing, `at_once` variants at a time.

        Each step has a process of its own, which gives all its memory back.
        """
        steps: list[tuple[Path, Callable[..., None], tuple[int, ...]]] = [(self.model, self._make_model, ())]
        if self.calibrate:
            steps.append((self._export, self._make_export, (threads,)))
            steps.append((self._calibration, self._make_calibration, (threads,)))
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
            for folder, make, arguments in steps:
                if not folder.exists():
                    progress.say(f"making {folder}")
                    pool.submit(make, *arguments).result()
        missing = [name for name in names if not self.variant(name).exists()]
        with ProcessPoolExecutor(at_once, mp_context=spawn, max_tasks_per_child=1) as pool:
            for name in pool.map(self._make_variant, missing, [threads] * len(missing)):
                progress.say(f"made {self.variant(name)}")

    @property
    def _export(self) -> Path:
        return self.folder / "export"

    @property
    def _calibration(self) -> Path:
        return self.folder / "calibration"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make_model(self) -> None:
        """Random weights (standard deviation 0.02) as bf16 safetensors; the tokenizer only names the special ids."""
        import torch
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(0)
        words = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.BPE()), pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|eos|>"
        )
        special = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("pad", "bos", "eos")}
        config = Qwen2Config(vocab_size=VOCABULARY, tie_word_embeddings=False, **self.shape, **special)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        items.save(self._data, "calibration", self._calibration_rows())
        with files.atomic_folder(self.model) as target:
            model.save_pretrained(target)
            words.save_pretrained(target)

    def _calibration_rows(self) -> list[items.Prepared]:
        """Random tokens: they give every scale a value."""
        return [
            items.Prepared(
                Item(id=str(n), suite="random", kind="problems", task="random", question="-", answer="-"),
                tuple(ids),
                (),
            )
            for n, ids in enumerate(prompts(self.calibration_items, self.calibration_tokens, seed=0))
        ]

    def _make_export(self, threads: int) -> None:
        from export import fused

        with files.atomic_folder(self._export) as target:
            fused.export(self.model, target / "fused", threads)

    def _make_calibration(self, threads: int) -> None:
        from calibration import run, statistics

        assert self.calibrate is not None
        partial = self.folder / "calibration.partial.safetensors"
        tensors = run.run(self.model, self._calibration_rows(), self.calibrate, threads, 0, partial)
        with files.atomic_folder(self._calibration) as target:
            statistics.save(target / statistics.FILE, tensors)
        partial.unlink()

    def _make_variant(self, name: str, threads: int) -> str:
        """As stages/quantize.py would; returns its name."""
        context = Context(self.model, self._export, self._calibration, self._data, threads, seed=0)
        with files.atomic_folder(self.variant(name)) as target:
            version.make(name, self.recipes[name], context, target)
        return name
