"""INT8 weights and activations for TensorRT: explicit Q/DQ, symmetric on both sides, on the fp16 standard graph.

The scales come from the same calibration as int8-static's. SmoothQuant folds the outliers behind the norms; matmuls
whose output suffers most stay in fp16, and so does the head, as NVIDIA's Model Optimizer leaves it. `compile` reads
the engine and names every layer that was meant to be INT8 and is not.

Source: TensorRT's documentation, "Working with Quantized Types", explicit quantization.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.progress import say
from models import calibration
from models.export import fused
from models.qdq import sensitivity, symmetric
from models.quantizers import Context
from models.tensorrt import half
from models.tensorrt.graph import StandardGraph

HEAD = "lm_head"


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    activations: Literal["absmax", "percentile", "mse"] = "mse"
    percentile: float = Field(default=99.99, gt=50, le=100, description="of |x|, for activations: percentile")
    smooth_alpha: float = Field(default=0.5, ge=0, le=1, description="0 turns SmoothQuant off")
    keep_half: float = Field(
        default=0.15, ge=0, lt=1, description="share of matmuls kept in fp16, most sensitive first"
    )


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the Q/DQ graph; its facts name the layers that the engine must run in INT8."""
    source = context.export_folder / "standard"
    graph = StandardGraph(source / fused.GRAPH)
    sites = calibration.load(context.calibration_folder)
    if options.smooth_alpha > 0:
        sites = symmetric.fold(graph, sites, options.smooth_alpha)
    clips = {name: symmetric.clip(site, options.activations, options.percentile) for name, site in sites.items()}
    errors = sensitivity.output_errors(graph, sites, clips, per_channel=True)
    kept = {HEAD} | sensitivity.most_sensitive(
        {name: error for name, error in errors.items() if name != HEAD}, options.keep_half
    )
    half.convert(graph.model)
    symmetric.qdq(graph, clips, skip=kept)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    int8 = [name for name in errors if name not in kept]
    say(f"tensorrt int8: {len(int8)} matmuls meant for INT8, {len(kept)} kept in fp16")
    return {
        "weights": "int8 per channel",
        "compute": "int8 x int8, symmetric",
        "int8_layers": int8,
        "kept_half": sorted(kept),
        "output_error_worst": max((errors[name] for name in int8), default=0.0),
    }
