"""No quantization: the original as a safetensors checkpoint in 16 bits for vLLM. What its other recipes answer to."""

from __future__ import annotations

from pathlib import Path

from models import vllm_settings
from quantizers import Context, Traits
from quantizers.parts import compressed
from quantizers.parts.compressed import CheckpointOptions

TRAITS = Traits(inputs=("weights",), libraries=("torch", "transformers"))


class Options(CheckpointOptions):
    pass


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the original's weights in `engine.dtype`."""
    compressed.write(compressed.load(context, options.engine), context.model_folder, folder)
    dtype = options.engine.dtype
    return {"weights": dtype, "compute": dtype, vllm_settings.FACT: options.engine.model_dump()}
