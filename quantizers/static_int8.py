"""INT8 weights and activations with static scales (W8A8), as Q/DQ around the matmuls of the fused graph.

Steps: SmoothQuant folds activation outliers into the weights; each input's clipping range comes from calibration;
the matmuls whose output suffers most stay in fp32; bias correction takes out the mean error of the rest; and the
graph that onnxruntime makes of it is inspected: a matmul that was meant to run in integers and does not is an error,
because a Q/DQ pair that does not fuse costs more than fp32 (up to 8 times more on a CPU). The embedding and the head
are in 8 bits by block.

Activations are uint8 with a zero point and weights int8 symmetric, the pair that onnxruntime's CPU kernels fuse
(MatMulIntegerToFloat); outputs stay in fp32. TensorRT wants int8 on both sides: see trt_int8.py.

Sources: SmoothQuant (Xiao et al. 2023, eq. 4); bias correction (Nagel et al. 2019, section 4.2).
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from pydantic import Field

from calibration.statistics import Array, Site
from core.errors import QuantizationError
from core.progress import say
from export import fused
from export.graph import Graph, MatMul
from quantizers import Context, Traits
from quantizers.parts import embedding, plan, smooth

# Measured on a random Qwen2 of 178 million parameters: 3.4 times the fp32 weights (ru_maxrss, less the libraries).
TRAITS = Traits(inputs=("fused graph", "statistics"), peak_of_fp32_weights=3.5, bytes_per_parameter=1.5)
LEVELS = 255  # uint8 with a zero point
INTEGER = ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul")


class Options(plan.Options):
    per_channel: bool = Field(
        default=False, description="one scale for each output channel of a weight, or one for all"
    )
    keep_float: float = Field(
        default=0.05, ge=0, lt=1, description="share of matmuls kept in fp32, most sensitive first"
    )
    bias_correction: bool = True


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the Q/DQ graph; raises QuantizationError naming the matmuls that did not come out as integer."""
    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    embedding.quantize(graph)
    made = plan.make(
        graph,
        context.calibration_folder,
        options,
        fold=smooth.fold,
        clip=clip,
        per_channel=options.per_channel,
        keep_share=options.keep_float,
    )
    if options.bias_correction:
        correct_bias(graph, made.sites, made.clips, options.per_channel, skip=made.kept)
    write_qdq(graph, made.clips, options.per_channel, skip=made.kept)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    counts = check_fused(folder / fused.GRAPH, made.wanted, context.threads)
    say(f"static int8: {len(made.wanted)} matmuls in integers, {len(made.kept)} kept in fp32")
    return {
        "weights": "int8 per channel" if options.per_channel else "int8 per tensor",
        "compute": "uint8 x int8",
        "integer_matmuls": len(made.wanted),
        "kept_float": sorted(made.kept),
        "output_error_worst": made.worst_error,
        "operators": counts,
    }


@dataclass(frozen=True)
class Clip:
    """The range that 256 levels cover. It contains 0, so that 0 is exact."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        return max(self.high - self.low, 1e-12) / LEVELS

    def apply(self, values: Array) -> Array:
        """`values` as they come out of QuantizeLinear and DequantizeLinear."""
        zero = round(-self.low / self.scale)
        levels = np.clip(np.round(values / self.scale) + zero, 0, LEVELS)
        result: Array = ((levels - zero) * self.scale).astype(np.float32)
        return result


def clip(site: Site, method: plan.Method, percentile: float) -> Clip:
    """The range of one matmul input: everything seen, a percentile of the sample, or the least squared error."""
    low, high = min(float(site.low.min()), 0.0), max(float(site.high.max()), 0.0)
    if method == "absmax":
        return Clip(low, high)
    if method == "percentile":
        tail = (100 - percentile) / 2
        bottom, top = np.percentile(site.sample, [tail, 100 - tail])
        return Clip(max(low, min(float(bottom), 0.0)), min(high, max(float(top), 0.0)))
    values = plan.searched(site)
    best = Clip(low, high)
    for _ in range(2):  # one end, then the other, twice: outliers are often on one side only
        best = _least_error(values, [Clip(best.low, high * share) for share in plan.SHRINK])
        best = _least_error(values, [Clip(low * share, best.high) for share in plan.SHRINK])
    return best


def _least_error(sample: Array, candidates: list[Clip]) -> Clip:
    return min(candidates, key=lambda candidate: float(np.square(candidate.apply(sample) - sample).mean()))


def correct_bias(
    graph: Graph, sites: Mapping[str, Site], clips: Mapping[str, Clip], per_channel: bool, skip: set[str]
) -> None:
    """Take the mean of the quantization error out of each output channel, in place.

    The correction is mean(xW - Q(x)Q(W)) over the sampled rows: Nagel's, with the measured mean of the quantized
    input in place of an assumed one. It is added where it costs nothing: in a bias that is there, or in the bias
    input of the residual norm that follows; only gate, up and the head get an Add of their own.
    """
    for matmul in graph.matmuls():
        if matmul.node not in skip:
            rows, weight = sites[matmul.site].sample, graph.weight(matmul.weight)
            rounded = clips[matmul.site].apply(rows) @ plan.rounded_weight(weight, per_channel)
            _add_bias(graph, matmul, (rows @ weight - rounded).mean(0))


def _add_bias(graph: Graph, matmul: MatMul, correction: Array) -> None:
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


def write_qdq(graph: Graph, clips: Mapping[str, Clip], per_channel: bool, skip: set[str]) -> None:
    """Put Q/DQ pairs with our scales around every matmul but those in `skip`, in place, by onnxruntime's own writer.

    Inputs become uint8, weights int8; outputs stay in fp32.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    matmuls = [matmul for matmul in graph.matmuls() if matmul.node not in skip]
    found = {
        matmul.input: TensorData(
            lowest=np.float32(clips[matmul.site].low), highest=np.float32(clips[matmul.site].high)
        )
        for matmul in matmuls
    }
    quantizer = QDQQuantizer(
        graph.model,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[matmul.node for matmul in matmuls],
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            "OpTypesToExcludeOutputQuantization": ["MatMul"],
        },
    )
    quantizer.quantize_model()
    graph.model = quantizer.model.model


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
