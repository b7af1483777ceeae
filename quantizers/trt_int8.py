"""INT8 weights and activations for TensorRT: explicit Q/DQ, symmetric on both sides, on the fp16 standard graph.

The scales come from the same calibration as int8-static's. SmoothQuant folds the outliers behind the norms; matmuls
whose output suffers most stay in fp16, and so does the head, as NVIDIA's Model Optimizer leaves it. `compile` reads
the engine and names every layer that was meant to be INT8 and is not.

Source: TensorRT's documentation, "Working with Quantized Types", explicit quantization.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.progress import say
from export import fused
from quantizers import Context
from quantizers.qdq import plan, symmetric
from trt import half
from trt.graph import StandardGraph

HEAD = "lm_head"


class Options(plan.Options):
    keep_half: float = Field(
        default=0.15, ge=0, lt=1, description="share of matmuls kept in fp16, most sensitive first"
    )


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the Q/DQ graph; its facts name the layers that the engine must run in INT8."""
    source = context.export_folder / "standard"
    graph = StandardGraph(source / fused.GRAPH)
    made = plan.make(
        graph,
        context.calibration_folder,
        options,
        fold=symmetric.fold,
        clip=symmetric.clip,
        per_channel=True,
        keep_share=options.keep_half,
        always_kept=frozenset({HEAD}),
    )
    half.convert(graph.model)
    symmetric.qdq(graph, made.clips, skip=made.kept)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    say(f"tensorrt int8: {len(made.wanted)} matmuls meant for INT8, {len(made.kept)} kept in fp16")
    return {
        "weights": "int8 per channel",
        "compute": "int8 x int8, symmetric",
        "int8_layers": made.wanted,
        "kept_half": sorted(made.kept),
        "output_error_worst": made.worst_error,
    }
