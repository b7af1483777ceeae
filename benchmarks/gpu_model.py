"""A random model of the R1-Distill-Qwen-1.5B shape and its GPU variants, made by the quantizers of a real one's.

Speed does not depend on what the weights say, so integer weights are rounded to the nearest instead of by GPTQ.
Kept under .cache/assay/gpu (about 25 GB with every variant) until that folder is deleted.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import quantizers
from core import files, paths, progress
from data import items
from data.records import Item
from models.params import Recipe
from quantizers import Context

FOLDER = paths.CACHE / "gpu"
NAME = "random R1-Distill-Qwen-1.5B shape (1.78 B parameters)"
VOCABULARY, HIDDEN, LAYERS = 151_936, 1536, 28
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 8960,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131_072,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
CALIBRATION_ITEMS, CALIBRATION_TOKENS = 32, 128
# Small enough that every side can be loaded at once on a card of 140 GB; 128 requests need 0.9 GiB of cache.
KV_CACHE_MIB = 4096
ENGINE = {"gpu_memory_utilization": 0.1, "kv_cache_mib": KV_CACHE_MIB, "max_model_len": 2048}
PAGED = {"serve": "many", "kv_cache_mib": KV_CACHE_MIB}
INTEGER: dict[str, Any] = {"algorithm": "nearest", "calibration_items": CALIBRATION_ITEMS, "engine": ENGINE}
RECIPES = {
    "vllm-bf16": Recipe(quantizer="checkpoint", runtime="vllm", options={"engine": ENGINE}),
    "vllm-fp8": Recipe(
        quantizer="fp8", runtime="vllm", options={"calibration_items": CALIBRATION_ITEMS, "engine": ENGINE}
    ),
    "vllm-w8a8-int8": Recipe(
        quantizer="gptq",
        runtime="vllm",
        options={"bits": 8, "activations": "static", "dynamic": ["down_proj"]} | INTEGER,
    ),
    "vllm-w4a16-int4": Recipe(quantizer="gptq", runtime="vllm", options={"bits": 4, "group_size": 128} | INTEGER),
    "ort-fp16-graph": Recipe(
        quantizer="genai_cuda", runtime="ort_cuda", options={"precision": "fp16", "serve": "one"}
    ),
    "ort-int4-graph": Recipe(
        quantizer="genai_cuda", runtime="ort_cuda", options={"precision": "int4", "serve": "one"}
    ),
    "ort-fp16-paged": Recipe(quantizer="genai_cuda", runtime="ort_cuda", options={"precision": "fp16"} | PAGED),
    "ort-int4-paged": Recipe(quantizer="genai_cuda", runtime="ort_cuda", options={"precision": "int4"} | PAGED),
}
MODEL, DATA = FOLDER / "model", FOLDER / "data"


def folder(name: str) -> Path:
    """Where the variant of a side is; the original for a side without a recipe."""
    return FOLDER / "variants" / name if name in RECIPES else MODEL


def prepare(names: Sequence[str], threads: int, at_once: int = 1) -> None:
    """Make the model and the variants of `names` that are missing, `at_once` in processes of their own."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    if not MODEL.exists():
        progress.say(f"making {MODEL}")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # a fresh process gives all its memory back
            pool.submit(make_model).result()
    missing = [name for name in names if name in RECIPES and not folder(name).exists()]
    with ProcessPoolExecutor(max(1, at_once), mp_context=spawn, max_tasks_per_child=1) as pool:
        for name in pool.map(make_variant, missing, [threads] * len(missing)):
            progress.say(f"made {folder(name)}")


def prompts(count: int, tokens: int, seed: int) -> list[list[int]]:
    """`count` prompts of random token ids, all of `tokens` tokens."""
    source = random.Random(seed)
    return [[source.randrange(3, VOCABULARY) for _ in range(tokens)] for _ in range(count)]


def make_model(seed: int = 0) -> None:
    """Random weights (standard deviation 0.02) as bf16 safetensors, with a tokenizer that only names special ids."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|eos|>"
    )
    special = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **special)).to(torch.bfloat16)
    rows = [
        items.Prepared(Item(id=str(n), suite="s", kind="problems", task="t", question="", answer=""), tuple(ids), ())
        for n, ids in enumerate(prompts(CALIBRATION_ITEMS, CALIBRATION_TOKENS, seed))
    ]
    items.save(DATA, "calibration", rows)
    with files.atomic_folder(MODEL) as target:
        model.save_pretrained(target)
        words.save_pretrained(target)


def make_variant(name: str, threads: int) -> str:
    """Quantize or build one variant as stages/quantize.py would; returns its name."""
    nothing = FOLDER / "none"
    context = Context(MODEL, nothing, nothing, DATA, threads, seed=0)
    with files.atomic_folder(folder(name)) as target:
        quantizers.make(name, RECIPES[name], context, target)
    return name
