"""fp16 or int4 weights for NVIDIA GPUs, by onnxruntime-genai's own builder; served by runtime ort_cuda.

`serve: one` captures the decode step as a CUDA graph, the fastest for a single stream; `serve: many` builds paged
attention, with which `og.Engine` batches continuously. Source: `onnxruntime_genai.models.builder` 0.18.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import QuantizationError
from export import fused
from models import families
from models.families import Architecture
from quantizers import Context, Traits

TRAITS = Traits(inputs=("weights",))
BLOCK_TOKENS = 256  # of the paged KV cache, the builder's own default


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    precision: Literal["fp16", "int4"]
    serve: Literal["one", "many"]
    max_batch: int = Field(default=128, ge=1, description="of serve: many")
    kv_cache_mib: int | None = Field(
        default=None, ge=1, description="of serve: many; null: 0.6 of the card, as the builder says"
    )


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Build the graph from the original's weights; a GPU is needed to run it, not to build it."""
    extra = {"enable_cuda_graph": "true"}
    if options.serve == "many":
        extra = {"use_paged_attention": "true", "max_batch_size": str(options.max_batch)}
        if options.kv_cache_mib:
            blocks = options.kv_cache_mib * 2**20 // _block_bytes(families.read(context.model_folder))
            if not blocks:
                raise QuantizationError(
                    f"kv_cache_mib {options.kv_cache_mib} holds no block of {BLOCK_TOKENS} tokens"
                )
            extra |= {"paged_block_size": str(BLOCK_TOKENS), "num_blocks": str(blocks)}
    fused.export(
        context.model_folder, folder, context.threads, precision=options.precision, provider="cuda", extra=extra
    )
    return {"weights": options.precision, "compute": "float16", "builder_options": extra}


def _block_bytes(a: Architecture) -> int:
    """Bytes of one block over all layers: keys and values in 16 bits."""
    return 2 * 2 * BLOCK_TOKENS * a.layers * a.kv_heads * a.head_dim
