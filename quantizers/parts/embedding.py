"""Embedding and head in 8 bits by block. Left in fp32 they are most of a small model's int8 artifact.

Where the model ties them the file holds one tensor, which the lookup and the head both read. Tokens are looked up by
GatherBlockQuantized on the head's own blocks, (words, blocks, block size), so that nothing is reshaped but the rows
that were looked up and the scales: onnxruntime folds a Reshape of a constant into a second copy in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from core.errors import QuantizationError
from export.graph import Graph
from quantizers.parts import blocks

BITS = 8
HEAD = "/lm_head/MatMul"
SIZES = (128, 64, 32, 16)  # of a block: the largest that divides a row, or its last block would be padded


def quantize(graph: Graph) -> None:
    """Write both in 8 bits, symmetric, in place. The head is no MatMul after it, so nothing else takes it for one.

    A value's largest error is half its block's scale: max |block| / 256.
    """
    gather = _gather(graph)
    head = next((matmul for matmul in graph.matmuls() if matmul.node == HEAD), None)
    if head is None:
        raise QuantizationError(f"the fused graph has no {HEAD} with a constant weight")
    weight = graph.weight(head.weight)
    hidden = len(weight)
    size = next((size for size in SIZES if hidden % size == 0), SIZES[-1])
    names = blocks.write(graph, head, blocks.nearest(weight, BITS, size))
    shared = next((node for node in graph.model.graph.node if gather.input[0] in node.output), None)
    if shared is None:
        table = graph.weight(gather.input[0])
        names = blocks.store(graph, gather.input[0], blocks.nearest(table.T, BITS, size))
    elif shared.op_type == "Transpose" and shared.input[0] == head.weight:
        graph.model.graph.node.remove(shared)
    else:
        raise QuantizationError(f"the fused graph's embedding reads {shared.op_type} {shared.name}, not the head")
    _look_up(graph, gather, *names, size=size, hidden=hidden)


def _look_up(graph: Graph, gather: Any, table: str, scales: str, *, size: int, hidden: int) -> None:
    """Replace the Gather by a lookup of rows of `table`, and take the padding off where there is some."""
    ids, output, name = gather.input[1], gather.output[0], gather.name
    constants = {"axis": [2], "row": [0, 0, -1], "start": [0], "end": [hidden]}
    axis, row, start, end = (f"{name}/{key}" for key in constants)
    padded = hidden % size != 0
    nodes = [
        helper.make_node("Unsqueeze", [scales, axis], [f"{name}/scales"], name=f"{name}/Unsqueeze"),
        helper.make_node(
            "GatherBlockQuantized", [table, ids, f"{name}/scales"], [f"{name}/blocks"], name=name,
            domain=blocks.DOMAIN, bits=BITS, block_size=size, gather_axis=0, quantize_axis=2,
        ),
        helper.make_node(
            "Reshape", [f"{name}/blocks", row], [f"{name}/padded" if padded else output], name=f"{name}/Reshape"
        ),
    ]  # fmt: skip
    if padded:
        nodes.append(helper.make_node("Slice", [f"{name}/padded", start, end, axis], [output], name=f"{name}/Slice"))
    used = {entry for node in nodes for entry in node.input}
    for key, values in constants.items():
        if f"{name}/{key}" in used:
            graph.model.graph.initializer.append(numpy_helper.from_array(np.array(values), f"{name}/{key}"))
    place = list(graph.model.graph.node).index(gather)
    graph.model.graph.node.remove(gather)
    for offset, node in enumerate(nodes):
        graph.model.graph.node.insert(place + offset, node)


def _gather(graph: Graph) -> Any:
    """The lookup of the token ids, as the builder writes it."""
    found = [node for node in graph.model.graph.node if node.op_type == "Gather" and "embed_tokens" in node.name]
    if len(found) != 1:
        raise QuantizationError(f"the fused graph has {len(found)} lookups of token ids, not one")
    return found[0]
