"""How a version's vLLM engine is set: part of its manifest, of what is measured and of what is deployed.

The same record gives the engine's keyword arguments (here, in `evaluate` and `benchmark`) and the arguments of
`vllm serve` (in a Deployment), so that what was measured is what serves. Source: vLLM 0.26, `EngineArgs`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, wrong_fields
from models import manifest, tokenizer_identity
from models.families import Architecture

BLOCK_TOKENS = 16  # of vLLM's KV cache
FACT = "engine"  # the manifest's fact that holds the settings


class EngineSettings(BaseModel):
    """Options `engine` of a recipe for runtime vllm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["bfloat16", "float16"] = Field(default="bfloat16", description="of what is not quantized")
    quantization: Literal["compressed-tensors"] | None = Field(
        default=None, description="set by the quantizer, not in params"
    )
    max_num_seqs: int = Field(default=128, ge=1, description="requests that run at once; the others wait")
    max_num_batched_tokens: int = Field(default=16384, ge=256, description="prompt and new tokens of one step")
    max_model_len: int | None = Field(default=None, ge=16, description="prompt and answer; null: the model's")
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] = "auto"
    cuda_graphs: bool = Field(default=True, description="false: eager; starts a minute sooner, decodes slower")
    gpu_memory_utilization: float = Field(
        default=0.85, gt=0, lt=1, description="of the card, with the KV cache; evaluate's reference needs the rest"
    )
    kv_cache_mib: int | None = Field(
        default=None, ge=1, description="null: what gpu_memory_utilization leaves; set it where engines share a card"
    )
    prefix_caching: bool = Field(default=False, description="off, so that no benchmark is answered from a cache")


def check(settings: EngineSettings, architecture: Architecture) -> None:
    """Raise ConfigError for settings that vLLM would refuse when it loads the model, after all the work on it."""
    positions = architecture.max_position_embeddings
    tokens = settings.max_model_len or positions
    if tokens > positions:
        raise ConfigError(f"engine.max_model_len is {tokens}, the model ends at {positions} positions: lower it")
    need_mib = -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS * _kv_token_bytes(settings, architecture) / 2**20
    if settings.kv_cache_mib is not None and need_mib > settings.kv_cache_mib:
        raise ConfigError(
            f"engine.kv_cache_mib is {settings.kv_cache_mib}, but one request of {tokens} tokens needs "
            f"{math.ceil(need_mib)}: raise it, or set engine.max_model_len to what prompt and answer need"
        )


def _kv_token_bytes(settings: EngineSettings, a: Architecture) -> int:
    """Bytes of one token's keys and values over all layers."""
    width = 1 if settings.kv_cache_dtype.startswith("fp8") else 2
    return 2 * a.layers * a.kv_heads * a.head_dim * width


def of(folder: Path) -> EngineSettings:
    """The settings in the manifest of a version's folder; ConfigError when it was not made for vLLM."""
    found = manifest.read(folder).facts.get(FACT)
    if not isinstance(found, dict):
        raise ConfigError(f"{folder} has no vLLM settings in its manifest: make it with a recipe for runtime vllm")
    try:
        return EngineSettings.model_validate(found)
    except ValidationError as error:
        raise ConfigError(f"{folder}: the manifest's vLLM settings: {wrong_fields(error)}") from error


def engine_arguments(settings: EngineSettings, folder: Path) -> dict[str, Any]:
    """Keyword arguments of vLLM's `EngineArgs` for the model in `folder`.

    No tokenizer: token ids go in and come out, of the one function that measured the prompts (models/tokenizer.py).
    """
    return {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "max_model_len": settings.max_model_len,
        "kv_cache_dtype": settings.kv_cache_dtype,
        "enforce_eager": not settings.cuda_graphs,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_memory_bytes": _bytes(settings.kv_cache_mib),
        "enable_prefix_caching": settings.prefix_caching,
        "generation_config": "vllm",  # sampling defaults come from the request, not from the model's file
        "disable_log_stats": True,  # the server has metrics of its own; vLLM's cost time in every step
    }


def serve_arguments(settings: EngineSettings, folder: str, served_name: str, port: int = 8000) -> list[str]:
    """Arguments of `vllm serve` that start the very engine that was measured, for a Deployment's `args`.

    `folder` is where the version's files are mounted, `served_name` what clients call the model. The tokenizer has a
    folder of its own: beside config.json, transformers 5 may build another one than tokenizer.json says.
    """
    options: dict[str, object] = {
        "tokenizer": f"{folder}/{tokenizer_identity.FOR_TRANSFORMERS}",
        "served-model-name": served_name,
        "port": port,
        "load-format": "safetensors",
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "max-num-seqs": settings.max_num_seqs,
        "max-num-batched-tokens": settings.max_num_batched_tokens,
        "max-model-len": settings.max_model_len,
        "kv-cache-dtype": settings.kv_cache_dtype,
        "gpu-memory-utilization": settings.gpu_memory_utilization,
        "kv-cache-memory-bytes": _bytes(settings.kv_cache_mib),
        "generation-config": "vllm",
    }
    arguments = [folder, *(f"--{name}={value}" for name, value in options.items() if value is not None)]
    arguments.append("--enable-prefix-caching" if settings.prefix_caching else "--no-enable-prefix-caching")
    return arguments if settings.cuda_graphs else [*arguments, "--enforce-eager"]


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes * 2**20
