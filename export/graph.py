"""The fused graph as quantizers see it: its weights by name, and which matmuls read which calibrated input."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from core.errors import QuantizationError
from export import fused

Array = NDArray[np.float32]
SCOPES = "pkg.torch.onnx.name_scopes"  # metadata of the standard graph's nodes: the modules it stands in


@dataclass(frozen=True)
class MatMul:
    """One weight matmul: y = x W, W float32 of shape (channels in, channels out)."""

    node: str
    weight: str
    site: str  # the calibrated input it reads, as in calibration.statistics.site_modules
    input: str
    output: str


class Graph:
    """An ONNX model in memory with its initializers at hand."""

    def __init__(self, path: Path) -> None:
        self.model: Any = onnx.load(path)
        self.initializers = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def parameters(self) -> int:
        """Values in all weights."""
        return sum(math.prod(tensor.dims) for tensor in self.model.graph.initializer)

    def weight(self, name: str) -> Array:
        return np.array(numpy_helper.to_array(self.initializers[name]))

    def set_weight(self, name: str, value: Array) -> None:
        """Replace an initializer, or add it."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name)
        if name in self.initializers:
            self.initializers[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self.initializers[name] = self.model.graph.initializer[-1]

    def matmuls(self) -> list[MatMul]:
        """Every matmul with a constant weight, in graph order."""
        return [
            MatMul(node.name, node.input[1], site_of(node.name), node.input[0], node.output[0])
            for node in self.model.graph.node
            if node.op_type == "MatMul" and node.input[1] in self.initializers
        ]

    def consumers(self, tensor: str) -> Iterator[Any]:
        """Nodes that read `tensor`."""
        return (node for node in self.model.graph.node if tensor in node.input)

    def producer(self, tensor: str) -> Any:
        """The node that writes `tensor`."""
        return next(node for node in self.model.graph.node if tensor in node.output)

    def replace_nodes(self, nodes: Sequence[Any]) -> None:
        """Make `nodes` the graph's, and drop the initializers that none of them reads."""
        body = self.model.graph
        written = [copy.deepcopy(node) for node in nodes]
        del body.node[:]
        body.node.extend(written)
        read = {name for node in written for name in node.input}
        for place in reversed(range(len(body.initializer))):  # in place: a copy of the weights may not fit
            if body.initializer[place].name not in read:
                del body.initializer[place]
        self.initializers = {tensor.name: tensor for tensor in body.initializer}

    def save(self, folder: Path) -> None:
        """Write model.onnx with its external data; the weights here are empty after it.

        Data files keep the permissions of any other file.
        """
        onnx.save(
            self.model, folder / fused.GRAPH, save_as_external_data=True, location=fused.GRAPH_DATA,
            all_tensors_to_one_file=True, size_threshold=1024,
        )  # fmt: skip
        (folder / fused.GRAPH_DATA).chmod(0o644)


def site_of(node: str) -> str:
    """`/model/layers.3/attn/qkv_proj/MatMul` → `3.attention`; raises QuantizationError for a name of no site."""
    if node == "/lm_head/MatMul":
        return "head"
    parts = node.split("/")
    inputs = {"qkv_proj": "attention", "q_proj": "attention", "k_proj": "attention", "v_proj": "attention"}
    inputs |= {"o_proj": "o", "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "down"}
    try:
        layer = parts[2].removeprefix("layers.")
        return f"{int(layer)}.{inputs[parts[4]]}"
    except (IndexError, KeyError, ValueError):
        raise QuantizationError(f"the fused graph has a matmul '{node}' that calibration does not know") from None
