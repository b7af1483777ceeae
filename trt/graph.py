"""The standard graph as TensorRT's quantizers see it: its matmuls carry the names of their torch modules.

torch.onnx writes the module path of each node into its metadata (`pkg.torch.onnx.name_scopes`). A matmul so named is
found again in the engine, whose inspector tells the ONNX nodes that each of its layers came from.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from core.errors import QuantizationError
from export.graph import Graph, MatMul

SCOPES = "pkg.torch.onnx.name_scopes"
INPUTS = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention"}
INPUTS |= {"o_proj": "o", "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "down"}


class StandardGraph(Graph):
    """In memory, every weight matmul renamed to its module: `layers.0.self_attn.q_proj`, `lm_head`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for node in self.model.graph.node:
            if node.op_type == "MatMul" and node.input[1] in self.initializers:
                node.name = _module(node)

    def matmuls(self) -> list[MatMul]:
        """Every matmul with a constant weight, in graph order. Raises QuantizationError for a module of no site."""
        return [
            MatMul(node.name, node.input[1], site_of_module(node.name), node.input[0], node.output[0])
            for node in self.model.graph.node
            if node.op_type == "MatMul" and node.input[1] in self.initializers
        ]


def site_of_module(module: str) -> str:
    """`layers.3.mlp.up_proj` → `3.mlp`, as in calibration.statistics.site_modules."""
    if module == "lm_head":
        return "head"
    parts = module.split(".")
    if len(parts) == 4 and parts[0] == "layers" and parts[1].isdigit() and parts[3] in INPUTS:
        return f"{parts[1]}.{INPUTS[parts[3]]}"
    raise QuantizationError(f"the standard graph has a matmul in module '{module}' that calibration does not know")


def _module(node: Any) -> str:
    """Module path of a node; the exporter's wrapper and the inner `model` are left out of it."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    path = [scope for scope in ast.literal_eval(scopes) if scope.startswith("model.")]
    if not path:
        raise QuantizationError(f"node {node.name} of the standard graph tells no module: export it with torch.onnx")
    module: str = [scope for scope in path if "." in scope][-1]
    return module.removeprefix("model.").removeprefix("model.")
