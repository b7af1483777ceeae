"""The standard graph in fp16, strongly typed, for TensorRT: `compile` makes an engine of it for each GPU target.

Rotary angles stay in fp32. The graph is held against torch through onnxruntime, which knows every operator in it:
what TensorRT compiles is known to be right before a GPU is at hand.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from export import check, fused
from quantizers import Context, Traits
from quantizers.parts import tensorrt_graph
from quantizers.parts.tensorrt_graph import StandardGraph

# Measured on SmolLM2-135M: 4.9 times the fp32 weights (ru_maxrss, less the libraries), as half.py; the default holds.
TRAITS = Traits(inputs=("weights", "standard graph", "items"), compiled=True)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Convert the standard graph and hold it against torch; raises ExportError where fp16 overflows."""
    source = context.export_folder / "standard"
    graph = StandardGraph(source / fused.GRAPH)
    tensorrt_graph.to_fp16(graph.model)
    graph.save(folder)
    del graph  # torch takes its place
    fused.copy_serving_files(source, folder)
    found = check.Original(context.model_folder, context.data_folder, context.threads).compare(folder / fused.GRAPH)
    return {"weights": "float16", "compute": "float16", "against_torch": found.facts(), "int8_layers": []}
