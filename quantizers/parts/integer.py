"""Matmuls on integers as onnxruntime's CPU kernels run them, and the proof that they do.

Inputs become uint8, weights are int8 with a scale for each output channel, and MatMulIntegerToFloat multiplies the
two and scales the sum. Inputs get their scale from calibration (`static`), or each token's own at run time
(`by_token`).
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calibration.statistics import Array
from core.errors import QuantizationError
from export.graph import Graph, MatMul
from quantizers.parts import plan
from quantizers.parts.blocks import DOMAIN

OPERATOR = "MatMulIntegerToFloat"
MIDDLE = 128  # the level that stands for 0 where a range is symmetric


def static(
    graph: Graph, matmul: MatMul, weight: Array, scale: float, zero: int, bias: Array, output: str
) -> list[Any]:
    """Nodes that compute `output` = x W + bias with the input's levels fixed: (level - zero) * scale.

    `weight` is float32 (in, out), `bias` float32 (out,).
    """
    quantized, scales = weights(graph, matmul, weight)
    step, middle = f"{matmul.input}/scale", f"{matmul.input}/zero"
    constant(graph, step, np.float32(scale))
    constant(graph, middle, np.uint8(zero))
    constant(graph, f"{matmul.node}/correction", bias)
    inner = f"{output}/levels"  # readers of one input each quantize it: onnxruntime merges equal nodes
    return [
        helper.make_node("QuantizeLinear", [matmul.input, step, middle], [inner], name=f"{matmul.node}/quantize"),
        helper.make_node(
            OPERATOR, [inner, quantized, step, scales, middle, "", f"{matmul.node}/correction"], [output],
            name=matmul.node, domain=DOMAIN,
        ),
    ]  # fmt: skip


def weights(graph: Graph, matmul: MatMul, weight: Array) -> tuple[str, str]:
    """Add `weight` in int8 to the graph; returns the names of its levels and scales."""
    names = f"{matmul.weight}/levels", f"{matmul.weight}/scales"
    levels, scales = plan.levels(weight)
    constant(graph, names[0], levels)
    constant(graph, names[1], scales)
    return names


def constant(graph: Graph, name: str, values: NDArray[Any] | np.generic) -> None:
    """Add an initializer, once."""
    if name not in graph.initializers:
        graph.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        graph.initializers[name] = graph.model.graph.initializer[-1]


def check(graph: Path, wanted: Iterable[str], threads: int) -> dict[str, int]:
    """Count the operators of the graph after onnxruntime's optimizer.

    Raises QuantizationError naming the nodes of `wanted` that do not run as an integer matmul.
    """
    optimized = _optimize(graph, threads)
    integer = {node.name for node in optimized.graph.node if node.op_type == OPERATOR}
    missed = [name for name in wanted if name not in integer]
    if missed:
        raise QuantizationError(
            f"{len(missed)} matmuls were meant to run in integers and do not: {', '.join(missed[:5])}"
            f"{' ...' if len(missed) > 5 else ''}; this onnxruntime does not run the scheme, do not serve it"
        )
    return dict(sorted(collections.Counter(node.op_type for node in optimized.graph.node).items()))


def _optimize(graph: Path, threads: int) -> onnx.ModelProto:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it warns that the optimized file suits this machine only: it is thrown away
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath, load_external_data=False)
