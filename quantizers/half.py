"""fp16 weights, activations and KV cache, by onnxruntime's own converter.

On a CPU without fp16 arithmetic onnxruntime computes most operators in fp32: half the size, not half the time. On a
GPU the same graph runs in fp16.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from export import check, fused
from export.graph import Graph
from quantizers import Context, Traits

# Measured (ru_maxrss, less the libraries): 4.9 times the fp32 weights on SmolLM2-135M, whose graph has its tied
# embeddings twice, 3.6 times on a random model of Qwen2.5-0.5B's shape.
TRAITS = Traits(inputs=("weights", "fused graph", "items"), peak_of_fp32_weights=5.0, bytes_per_parameter=2.0)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Convert the fused graph and hold the result against torch; raises ExportError where fp16 overflows."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    graph.model = convert_float_to_float16(graph.model, keep_io_types=False, disable_shape_infer=True)
    graph.save(folder)
    del graph  # torch takes its place
    fused.copy_serving_files(source, folder)
    found = check.Original(context.model_folder, context.data_folder, context.threads).compare(folder / fused.GRAPH)
    return {"weights": "float16", "compute": "float16", "against_torch": found.facts()}
