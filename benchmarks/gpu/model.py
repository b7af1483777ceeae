"""The GPU benchmark's model, of the R1-Distill-Qwen-1.5B shape, and its variants (about 25 GB with all of them).

Integer weights are rounded to the nearest instead of by GPTQ: that takes seconds and is as fast.
"""

from __future__ import annotations

from typing import Any

from benchmarks.random_model import RandomModel
from core import paths
from models.params import Recipe

NAME = "random R1-Distill-Qwen-1.5B shape (1.78 B parameters)"
HIDDEN = 1536
SHAPE = {
    "hidden_size": HIDDEN,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131_072,
    "rope_theta": 10_000.0,
}
CALIBRATION_ITEMS = 32
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
MODEL = RandomModel(paths.CACHE / "gpu", SHAPE, RECIPES, CALIBRATION_ITEMS, calibration_tokens=128)
