"""The standard graph in fp16, as a strongly typed network reads it: every type is written in the graph.

The angles of the rotary embedding stay in fp32 up to their sine and cosine: in fp16 a position above 2048 is no
longer an exact number. onnxruntime's converter keeps such nodes too, but leaves RotaryEmbedding with two types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from core.errors import ExportError

WAVES = ("Cos", "Sin")
LARGEST = float(np.finfo(np.float16).max)


def convert(model: Any) -> None:
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
    del graph.value_info[:]  # it tells the old types
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
