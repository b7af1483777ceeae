"""The scheme of TensorRT: int8 on both sides, symmetric, weights by output channel; written as explicit Q/DQ.

A CPU wants the opposite (write.py: uint8 with a zero point). The scales come from the same calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from calibration.statistics import Array, Site
from export.graph import Graph, MatMul
from quantizers.qdq import ranges, smooth

LEVELS = 127


@dataclass(frozen=True)
class Symmetric:
    """The range [-largest, largest] in 255 levels; 0 is exact."""

    largest: float

    @property
    def scale(self) -> float:
        """As fp16 holds it, because that is what the graph carries."""
        return float(np.float16(max(self.largest, 1e-5) / LEVELS))

    def apply(self, values: Array) -> Array:
        """`values` as they come out of QuantizeLinear and DequantizeLinear."""
        result: Array = (np.clip(np.round(values / self.scale), -LEVELS, LEVELS) * self.scale).astype(np.float32)
        return result


def clip(site: Site, method: ranges.Method, percentile: float) -> Symmetric:
    """The range of one matmul input, chosen as ranges.clip chooses it, but the same on both sides of 0."""
    largest = float(site.absmax.max())
    if method == "absmax":
        return Symmetric(largest)
    if method == "percentile":
        return Symmetric(min(largest, float(np.percentile(np.abs(site.sample), percentile))))
    values = site.sample.ravel()
    values = values[:: max(1, len(values) // ranges.SEARCHED)]
    candidates = [Symmetric(largest * share) for share in ranges.SHRINK]
    return min(candidates, key=lambda one: float(np.square(one.apply(values) - values).mean()))


def fold(graph: Graph, sites: Mapping[str, Site], alpha: float) -> dict[str, Site]:
    """SmoothQuant where a norm makes the input (q, k, v; gate and up), exactly and in place; other sites stay."""
    readers: dict[str, list[MatMul]] = {}
    for matmul in graph.matmuls():
        readers.setdefault(matmul.site, []).append(matmul)
    folded = dict(sites)
    for name in sites:
        if name.endswith((".attention", ".mlp")):
            _own_weight(graph, graph.producer(readers[name][0].input))
            folded[name] = smooth.fold_site(graph, sites[name], readers[name], alpha)
    return folded


def _own_weight(graph: Graph, norm: Any) -> None:
    """The exporter lets norms share a weight where the values are equal: a fold must change one of them only."""
    name = norm.input[1]
    if len(list(graph.consumers(name))) > 1:
        graph.set_weight(f"{norm.name}/weight", graph.weight(name))
        norm.input[1] = f"{norm.name}/weight"


def qdq(graph: Graph, clips: Mapping[str, Symmetric], skip: set[str]) -> None:
    """Put Q/DQ around every matmul but those in `skip`, in place. The graph is fp16 already; so are the scales."""
    nodes = graph.model.graph.node
    wanted = {matmul.node: matmul for matmul in graph.matmuls() if matmul.node not in skip}
    activations: dict[str, str] = {}
    made: list[Any] = []
    for node in list(nodes):
        matmul = wanted.get(node.name)
        if matmul is not None:
            if matmul.input not in activations:  # q, k and v share one pair, so that TensorRT can merge them
                activations[matmul.input] = f"{matmul.input}/dequantized"
                made += _activation(graph, matmul.input, clips[matmul.site].scale)
            made.append(_weight(graph, matmul.weight))
            node.input[:] = [activations[matmul.input], f"{matmul.weight}/dequantized"]
        made.append(node)
    del nodes[:]
    nodes.extend(made)


def _activation(graph: Graph, name: str, scale: float) -> list[Any]:
    scales = [f"{name}/scale", f"{name}/zero"]
    _add(graph, scales[0], np.array(scale, np.float16))
    _add(graph, scales[1], np.array(0, np.int8))
    return [
        helper.make_node("QuantizeLinear", [name, *scales], [f"{name}/int8"], name=f"{name}/quantize"),
        helper.make_node(
            "DequantizeLinear", [f"{name}/int8", *scales], [f"{name}/dequantized"], name=f"{name}/dequantize"
        ),
    ]


def _weight(graph: Graph, name: str) -> Any:
    """Turn a weight (in, out) into int8 values with one fp16 scale for each output channel, in its own place."""
    tensor = graph.initializers.pop(name)
    values = numpy_helper.to_array(tensor).astype(np.float32)
    scale = np.maximum(np.abs(values).max(0) / LEVELS, np.finfo(np.float16).smallest_normal).astype(np.float16)
    levels = np.clip(np.round(values / scale.astype(np.float32)), -LEVELS, LEVELS).astype(np.int8)
    inputs = [f"{name}/int8", f"{name}/scale", f"{name}/zero"]
    tensor.CopyFrom(numpy_helper.from_array(levels, inputs[0]))
    graph.initializers[inputs[0]] = tensor
    _add(graph, inputs[1], scale)
    _add(graph, inputs[2], np.zeros(scale.shape, np.int8))
    return helper.make_node("DequantizeLinear", inputs, [f"{name}/dequantized"], name=f"{name}/dequantize", axis=1)


def _add(graph: Graph, name: str, values: Any) -> None:
    graph.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    graph.initializers[name] = graph.model.graph.initializer[-1]
