"""What onnxruntime made of a Q/DQ graph. The file being right says nothing about what will run."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx

from core.errors import QuantizationError

INTEGER = ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul")


def check_fused(graph: Path, wanted: Iterable[str], threads: int) -> dict[str, int]:
    """Count the operators of the graph after onnxruntime's optimizer.

    Raises QuantizationError naming the nodes of `wanted` that do not run as an integer matmul.
    """
    optimized = _optimize(graph, threads)
    integer = {node.name for node in optimized.graph.node if node.op_type in INTEGER}
    missed = [name for name in wanted if name not in integer]
    if missed:
        raise QuantizationError(
            f"{len(missed)} matmuls were meant to run in integers and do not: {', '.join(missed[:5])}"
            f"{' ...' if len(missed) > 5 else ''}; this onnxruntime does not fuse the scheme, do not serve it"
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
