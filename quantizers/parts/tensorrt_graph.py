"""The standard graph as the recipes for TensorRT see it: matmuls named by their torch modules, every type in fp16.

torch.onnx writes the module path of each node into its metadata (`pkg.torch.onnx.name_scopes`). A matmul so named is
found again in the engine, whose inspector lists the ONNX nodes that each of its layers came from.

A strongly typed network reads every type from the graph. The angles of the rotary embedding stay in fp32 up to their
sine and cosine: in fp16 a position above 2048 is no longer an exact number. onnxruntime's converter keeps such nodes
too, but leaves RotaryEmbedding with two types.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from core.errors import ExportError, QuantizationError
from export.graph import SCOPES, Graph, MatMul

INPUTS = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention"}
INPUTS |= {"o_proj": "o", "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "down"}
WAVES = ("Cos", "Sin")
LARGEST = float(np.finfo(np.float16).max)


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
        raise QuantizationError(f"node {node.name} of the standard graph names no module: export it with torch.onnx")
    module: str = [scope for scope in path if "." in scope][-1]
    return module.removeprefix("model.").removeprefix("model.")


def to_fp16(model: Any) -> None:
    """Turn the fp32 `model` (onnx.ModelProto) into fp16 in place: weights, inputs, outputs and casts.

    Raises ExportError naming a weight that fp16 cannot hold.
    """
    graph = model.graph
    exact = _rotary_angles(graph)
    held = {name for node in graph.node if node.output[0] in exact for name in node.input}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in held:
            tensor.CopyFrom(_narrow(tensor))
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT:
            kind.elem_type = TensorProto.FLOAT16
    del graph.value_info[:]  # it holds the old types
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Cast" and node.output[0] not in exact:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
        if node.op_type in WAVES:
            wide = f"{node.output[0]}/float32"
            nodes.append(
                helper.make_node("Cast", [wide], [node.output[0]], name=f"{node.name}/half", to=TensorProto.FLOAT16)
            )
            node.output[0] = wide
    del graph.node[:]
    graph.node.extend(nodes)


def _rotary_angles(graph: Any) -> set[str]:
    """Tensors on the way from position ids to a sine or cosine, which are computed in fp32."""
    producers = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    todo = [node.output[0] for node in graph.node if node.op_type in WAVES]
    while todo:
        name = todo.pop()
        if name in producers and name not in found:
            found.add(name)
            todo.extend(producers[name].input)
    return found


def _narrow(tensor: Any) -> Any:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST:  # also true for NaN
        raise ExportError(f"weight {tensor.name} reaches {largest:.3g}, fp16 ends at {LARGEST:.0f}: use bf16 or fp32")
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)
