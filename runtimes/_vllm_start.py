"""Start and stop vLLM's engine in this process, with the settings of a version's manifest."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

from core.errors import ResourceError
from models import vllm_settings

# Ours unless the user says otherwise: one process; no sampler that is compiled at the first request; no hub.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}
NO_MEMORY = ("out of memory", "free memory on device", "no available memory", "kv cache is needed")
_started = count()


def start(folder: Path, threads: int, **changed: Any) -> Any:
    """vLLM's LLMEngine for the version in `folder`; `changed` are EngineArgs that differ from its manifest.

    The first one runs in this process, a later one in a process of its own: what vLLM keeps for CUDA graphs is the
    process's, and capturing for a second engine met an illegal memory access (vLLM 0.26, H200).
    Raises ResourceError saying what to lower when the card is too small.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import torch
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    settings = vllm_settings.of(folder)
    arguments = EngineArgs(**vllm_settings.engine_arguments(settings, folder) | changed)
    try:
        return LLMEngine.from_engine_args(arguments, enable_multiprocessing=next(_started) > 0)
    except (RuntimeError, ValueError) as error:  # torch's and vLLM's own; neither has a common base
        if not any(text in str(error).lower() for text in NO_MEMORY):
            raise
        raise ResourceError(
            f"out of GPU memory while loading {folder}: in the recipe's options lower engine.max_model_len or "
            "engine.max_num_seqs, and give it as much of the card as is free (engine.kv_cache_mib, "
            f"engine.gpu_memory_utilization), or free the card ({error})"
        ) from error


def shut_down(engine: Any) -> None:
    """Stop vLLM's engine and give the card's memory back."""
    import gc

    import torch

    engine.engine_core.shutdown()
    gc.collect()
    torch.cuda.empty_cache()
