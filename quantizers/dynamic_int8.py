"""INT8 weights and activations with a scale for each token, measured at run time (W8A8), on the fused graph.

Needs no calibration, and an outlier of one token costs the others nothing. onnxruntime's own DynamicQuantizeMatMul
takes one scale for all tokens of a batch: an answer would depend on who else is asking. So the scale of each row is
written into the graph, and the integer matmul itself is the one of static_int8. The embedding and the head are in 8
bits by block, as in every recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper
from pydantic import BaseModel, ConfigDict

from core.progress import say
from export import fused
from export.graph import Graph
from quantizers import Context, Traits
from quantizers.parts import embedding, integer
from quantizers.parts.blocks import DOMAIN

TRAITS = Traits(inputs=("fused graph",), peak_of_fp32_weights=2.0, bytes_per_parameter=1.5)
LEVELS = 127
SMALLEST = 1e-8  # of a row's largest value: a row of zeros has no scale


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the graph; raises QuantizationError naming the matmuls that did not come out as integer."""
    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    embedding.quantize(graph)
    wanted = [matmul.node for matmul in graph.matmuls()]
    write(graph)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    counts = integer.check(folder / fused.GRAPH, wanted, context.threads)
    say(f"dynamic int8: {len(wanted)} matmuls in integers, one scale for each token")
    return {
        "weights": "int8 per channel",
        "compute": "uint8 x int8, a scale for each token",
        "integer_matmuls": len(wanted),
        "operators": counts,
    }


def write(graph: Graph) -> None:
    """Replace every weight matmul by its integer form, in place."""
    for name, value in (("last", np.array([-1])), ("one", np.float32(1)), ("middle", np.uint8(integer.MIDDLE))):
        integer.constant(graph, f"int8/{name}", value)
    integer.constant(graph, "int8/levels", np.float32(1 / LEVELS))
    integer.constant(graph, "int8/smallest", np.float32(SMALLEST))
    matmuls = {matmul.node: matmul for matmul in graph.matmuls()}
    nodes: list[Any] = []
    scaled: set[str] = set()
    for node in graph.model.graph.node:
        matmul = matmuls.get(node.name)
        if matmul is None:
            nodes.append(node)
            continue
        if matmul.input not in scaled:  # q, k and v read one input, and so do gate and up
            scaled.add(matmul.input)
            nodes += _rows(matmul.input)
        levels, scales = integer.weights(graph, matmul, graph.weight(matmul.weight))
        nodes += [
            helper.make_node(
                integer.OPERATOR,
                [f"{matmul.input}/uint8", levels, "int8/one", scales, "int8/middle"],
                [f"{matmul.output}/levels"],
                name=matmul.node,
                domain=DOMAIN,
            ),
            helper.make_node(
                "Mul",
                [f"{matmul.output}/levels", f"{matmul.input}/step"],
                [matmul.output],
                name=f"{matmul.node}/scale",
            ),
        ]
    graph.replace_nodes(nodes)


def _rows(name: str) -> list[Any]:
    """Nodes that make `name`/uint8 and `name`/step, its scale, float32 (..., 1): one for each token."""
    steps: list[tuple[str, list[str], str]] = [
        ("Abs", [name], "size"),
        ("ReduceMax", [f"{name}/size", "int8/last"], "largest"),
        ("Max", [f"{name}/largest", "int8/smallest"], "reach"),
        ("Mul", [f"{name}/reach", "int8/levels"], "step"),
        ("Div", [name, f"{name}/step"], "whole"),
        ("QuantizeLinear", [f"{name}/whole", "int8/one", "int8/middle"], "uint8"),
    ]
    return [
        helper.make_node(operator, inputs, [f"{name}/{end}"], name=f"{name}/{end}") for operator, inputs, end in steps
    ]
