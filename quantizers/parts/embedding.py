"""The embedding in 8 bits: one scale a row, read by two Gathers. Left in fp32 it is most of a small int8 artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from core.errors import QuantizationError

TABLE = "model.embed_tokens.weight"


def untie(model: Any) -> None:
    """Give an embedding that shares the head's weight a table of its own, in place; one that has its own stays.

    Smoothing scales the head's weight and quantizing replaces it, and tokens must be looked up as they were.
    """
    graph = model.graph
    gather = _gather(graph)
    shared = next((node for node in graph.node if gather.input[0] in node.output), None)
    if shared is None:
        return
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if shared.op_type != "Transpose" or shared.input[0] not in weights:
        raise QuantizationError(f"the fused graph's embedding reads {shared.op_type} {shared.name}, not a weight")
    table = numpy_helper.to_array(weights[shared.input[0]]).T
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(table), TABLE))
    gather.input[0] = TABLE
    graph.node.remove(shared)


def quantize(model: Any) -> None:
    """Replace `Gather(table, ids)` by `Cast(Gather(int8 table)) * Gather(scale)`, symmetric per row, in place.

    A row's largest error is half its scale: max |row| / 254.
    """
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    gather = _gather(graph)
    if gather.input[0] not in initializers:
        raise QuantizationError("the fused graph has no embedding Gather with a constant table")
    name, ids, output = gather.input[0], gather.input[1], gather.output[0]
    table = numpy_helper.to_array(initializers[name]).astype(np.float32)
    scale = np.maximum(np.abs(table).max(1, keepdims=True), 1e-12) / 127
    rows = np.round(table / scale).astype(np.int8)
    graph.initializer.remove(initializers[name])
    graph.initializer.extend(
        [
            numpy_helper.from_array(rows, f"{name}_int8"),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
        ]
    )
    nodes = [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_int8"], name=f"{gather.name}_int8"),
        helper.make_node("Gather", [f"{name}_scale", ids], [f"{output}_scale"], name=f"{gather.name}_scale"),
        helper.make_node(
            "Cast", [f"{output}_int8"], [f"{output}_cast"], name=f"{gather.name}_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output], name=f"{gather.name}_mul"),
    ]
    place = list(graph.node).index(gather)
    graph.node.remove(gather)
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)


def _gather(graph: Any) -> Any:
    """The lookup of the token ids, as the builder writes it."""
    found = [node for node in graph.node if node.op_type == "Gather" and "embed_tokens" in node.input[0]]
    if len(found) != 1:
        raise QuantizationError("the fused graph has no embedding Gather with a constant table")
    return found[0]
