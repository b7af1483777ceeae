"""fp16 or int4 weights for NVIDIA GPUs, by onnxruntime-genai's own builder; served by runtime ort_cuda.

`serve: one` captures the decode step as a CUDA graph, the fastest for a single stream; `serve: many` builds paged
attention, with which `og.Engine` batches continuously. Source: onnxruntime-genai 0.18, models/builder.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.export import fused
from models.quantizers import Context


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    precision: Literal["fp16", "int4"]
    serve: Literal["one", "many"]
    max_batch: int = Field(default=128, ge=1, description="of serve: many")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Build the graph from the original's weights; a GPU is needed to run it, not to build it."""
    extra = {"enable_cuda_graph": "true"}
    if options.serve == "many":
        extra = {"use_paged_attention": "true", "max_batch_size": str(options.max_batch)}
    fused.export(
        context.model_folder, folder, context.threads, precision=options.precision, provider="cuda", extra=extra
    )
    return {"weights": options.precision, "compute": "float16", "builder_options": extra}
