"""INT8 weights and activations with static scales (W8A8), as Q/DQ around the matmuls of the fused graph.

Steps: SmoothQuant folds activation outliers into the weights; each input's clipping range comes from calibration;
the matmuls whose output suffers most stay in fp32; bias correction takes out the mean error of the rest; and the
graph that onnxruntime makes of it is inspected: a matmul that was meant to run in integers and does not is an error,
because a Q/DQ pair that does not fuse costs more than fp32 (up to 8 times more on a CPU).

Activations are uint8 with a zero point and weights int8 symmetric, the pair that onnxruntime's CPU kernels fuse
(MatMulIntegerToFloat); outputs stay in fp32. TensorRT wants int8 on both sides: its writer uses the same calibration.

Sources: SmoothQuant (Xiao et al. 2023, eq. 4); bias correction (Nagel et al. 2019, section 4.2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from core.progress import say
from export import fused
from export.graph import Graph
from quantizers import Context
from quantizers.parts import embedding
from quantizers.qdq import bias, inspect, plan, ranges, smooth, write


class Options(plan.Options):
    per_channel: bool = Field(
        default=False, description="one scale for each output channel of a weight, or one for all"
    )
    keep_float: float = Field(
        default=0.05, ge=0, lt=1, description="share of matmuls kept in fp32, most sensitive first"
    )
    bias_correction: bool = True
    embedding_bits: Literal[8, 32] = 8


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the Q/DQ graph; raises QuantizationError naming the matmuls that did not come out as integer."""
    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    embedding.untie(graph.model)
    made = plan.make(
        graph,
        context.calibration_folder,
        options,
        fold=smooth.fold,
        clip=ranges.clip,
        per_channel=options.per_channel,
        keep_share=options.keep_float,
    )
    if options.bias_correction:
        bias.correct(graph, made.sites, made.clips, options.per_channel, skip=made.kept)
    if options.embedding_bits == 8:
        embedding.quantize(graph.model)
    write.qdq(graph, made.clips, options.per_channel, skip=made.kept)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    counts = inspect.check_fused(folder / fused.GRAPH, made.wanted, context.threads)
    say(f"static int8: {len(made.wanted)} matmuls in integers, {len(made.kept)} kept in fp32")
    return {
        "weights": "int8 per channel" if options.per_channel else "int8 per tensor",
        "compute": "uint8 x int8",
        "integer_matmuls": len(made.wanted),
        "kept_float": sorted(made.kept),
        "output_error_worst": made.worst_error,
        "operators": counts,
    }
