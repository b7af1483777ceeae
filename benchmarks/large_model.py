"""A random model of Qwen2.5-0.5B's shape and its variants, made by the same export and quantizers as a real one's.

Speed does not depend on what the weights say. Embeddings are untied: the head is a matmul of its own, as in the
DeepSeek-R1 distills. Kept under .cache/assay/large (about 11 GB) until that folder is deleted.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

import quantizers
from calibration import run as calibration_run
from calibration import statistics
from calibration.params import CalibrateParams
from core import files, paths, progress
from core.errors import ResourceError
from data.items import Prepared
from data.records import Item
from export import fused
from models.params import Recipe
from quantizers import Context

FOLDER = paths.CACHE / "large"
VOCABULARY = 151_936
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": False,
}
RECIPES = {
    "fp32": Recipe(quantizer="none", runtime="ort"),
    "int8-weight": Recipe(quantizer="weight_only", runtime="ort", options={"bits": 8, "block_size": 32}),
    "int4-weight": Recipe(quantizer="weight_only", runtime="ort", options={"bits": 4, "block_size": 32}),
    "int8-static": Recipe(quantizer="static_int8", runtime="ort", options={"keep_float": 0.0}),
}
CALIBRATION = CalibrateParams(prefill_items=4, decode_items=2, decode_steps=8, batch=2, sample_rows=128)
CALIBRATION_TOKENS = 64
DISK_BYTES = 12 * 2**30
MEMORY_BYTES = 12 * 2**30  # all six sides loaded at once


def prepare(threads: int) -> tuple[Path, dict[str, Path]]:
    """Make what is missing, each step in a process of its own; returns the model's folder and the variants' folders.

    Raises ResourceError when disk or memory are too small.
    """
    model, export = FOLDER / "model", FOLDER / "export"
    variants = {name: FOLDER / "variants" / name for name in RECIPES}
    if psutil.virtual_memory().available < MEMORY_BYTES:
        raise ResourceError(f"six sides of a 0.6 B model take {MEMORY_BYTES / 2**30:.0f} GiB of free memory")
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not all(folder.exists() for folder in variants.values()) and shutil.disk_usage(FOLDER).free < DISK_BYTES:
        raise ResourceError(
            f"the random model and its variants take {DISK_BYTES / 2**30:.0f} GiB of disk in {FOLDER}"
        )
    _once(model, make_model, model)
    _once(export, _export, model, export, threads)
    _once(FOLDER / "calibration", _calibrate, model, FOLDER / "calibration", threads)
    for name, folder in variants.items():
        _once(folder, _quantize, name, model, export, folder, threads)
    return model, variants


def make_model(folder: Path, seed: int = 0) -> None:
    """Random weights (standard deviation 0.02) as bf16 safetensors; the tokenizer only names the special ids."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|eos|>"
    )
    special = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **special)).to(torch.bfloat16)
    with files.atomic_folder(folder) as target:
        model.save_pretrained(target)
        words.save_pretrained(target)


def _export(model: Path, export: Path, threads: int) -> None:
    with files.atomic_folder(export) as target:
        fused.export(model, target / "fused", threads)


def _calibrate(model: Path, folder: Path, threads: int) -> None:
    """Random tokens: they give every scale a value, and speed does not depend on which."""
    source = random.Random(0)
    rows = [
        Prepared(
            item=Item(id=str(number), suite="random", kind="problems", task="random", question="-", answer="-"),
            prompt_ids=tuple(source.randrange(3, VOCABULARY) for _ in range(CALIBRATION_TOKENS)),
            target_ids=(),
        )
        for number in range(CALIBRATION.prefill_items)
    ]
    tensors = calibration_run.run(model, rows, CALIBRATION, threads, 0, FOLDER / "calibration.partial.safetensors")
    with files.atomic_folder(folder) as target:
        statistics.save(target / statistics.FILE, tensors)


def _quantize(name: str, model: Path, export: Path, folder: Path, threads: int) -> None:
    context = Context(model, export, FOLDER / "calibration", FOLDER / "none", threads, seed=0)  # none reads data
    with files.atomic_folder(folder) as target:
        quantizers.make(name, RECIPES[name], context, target)


def _once(folder: Path, make: Callable[..., None], *arguments: object) -> None:
    """Make `folder` unless it is there. A fresh process gives back all the memory that the step took."""
    if folder.exists():
        return
    progress.say(f"making {folder}")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(make, *arguments).result()
