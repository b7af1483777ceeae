"""No quantization: the original as a safetensors checkpoint in 16 bits for vLLM. What its other recipes answer to."""

from __future__ import annotations

from pathlib import Path

from models.quantizers import Context, _compressed
from models.quantizers._compressed import CheckpointOptions
from models.runtimes import _vllm_settings

LIBRARIES = ("torch", "transformers")


class Options(CheckpointOptions):
    pass


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the original's weights in `engine.dtype`."""
    _compressed.write(_compressed.load(context, options.engine), context.model_folder, folder)
    dtype = options.engine.dtype
    return {"weights": dtype, "compute": dtype, _vllm_settings.FACT: options.engine.model_dump()}
