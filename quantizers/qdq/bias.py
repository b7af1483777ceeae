"""Bias correction: take the mean of the quantization error out of each output channel.

correction = mean(xW - Q(x)Q(W)) over the sampled rows. Source: Nagel et al. 2019, section 4.2, with the measured mean
of the quantized input in place of an assumed one. It is added where it costs nothing: in a bias that is there, or in
the bias input of the residual norm that follows; only gate, up and the head get an Add of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import helper

from calibration.statistics import Array, Site
from export.graph import Graph, MatMul
from quantizers.qdq import ranges


def correct(
    graph: Graph, sites: Mapping[str, Site], clips: Mapping[str, ranges.Clip], per_channel: bool, skip: set[str]
) -> None:
    """Add each matmul's correction to the graph, in place."""
    for matmul in graph.matmuls():
        if matmul.node not in skip:
            rows, weight = sites[matmul.site].sample, graph.weight(matmul.weight)
            rounded = clips[matmul.site].apply(rows) @ ranges.weight(weight, per_channel)
            _add(graph, matmul, (rows @ weight - rounded).mean(0))


def _add(graph: Graph, matmul: MatMul, correction: Array) -> None:
    readers = list(graph.consumers(matmul.output))
    for node in readers:
        biases = [name for name in node.input if name in graph.initializers]
        if node.op_type == "Add" and biases:
            graph.set_weight(biases[0], graph.weight(biases[0]) + correction)
            return
        if node.op_type == "SkipSimplifiedLayerNormalization" and len(node.input) == 3:
            graph.set_weight(f"{matmul.node}/correction", correction)
            node.input.append(f"{matmul.node}/correction")
            return
    _insert_add(graph, matmul, correction)


def _insert_add(graph: Graph, matmul: MatMul, correction: Array) -> None:
    name = f"{matmul.node}/correction"
    graph.set_weight(name, correction)
    producer = graph.producer(matmul.output)
    inner = f"{matmul.output}/uncorrected"
    producer.output[0] = inner
    place = list(graph.model.graph.node).index(producer)
    graph.model.graph.node.insert(
        place + 1, helper.make_node("Add", [inner, name], [matmul.output], name=f"{name}/Add")
    )
