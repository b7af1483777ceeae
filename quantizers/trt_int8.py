"""INT8 weights and activations for TensorRT: explicit Q/DQ, symmetric on both sides, on the fp16 standard graph.

The scales come from the same calibration as int8-static's. SmoothQuant folds the outliers behind the norms; matmuls
whose output suffers most stay in fp16, and so does the head, as NVIDIA's Model Optimizer leaves it. `compile` reads
the engine and names every layer that was meant to be INT8 and is not.

Source: TensorRT's documentation, "Working with Quantized Types", explicit quantization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from pydantic import Field

from calibration.statistics import Array, Site
from core.progress import say
from export import fused
from export.graph import Graph, MatMul
from quantizers import Context, Traits
from quantizers.parts import plan, smooth, tensorrt_graph
from quantizers.parts.tensorrt_graph import StandardGraph

TRAITS = Traits(inputs=("standard graph", "statistics"), compiled=True)
HEAD = "lm_head"
NORMS = ("attention", "mlp")  # inputs that a norm makes
LEVELS = 127


class Options(plan.Options):
    keep_half: float = Field(
        default=0.15, ge=0, lt=1, description="share of matmuls kept in fp16, most sensitive first"
    )


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the Q/DQ graph; its facts name the layers that the engine must run in INT8."""
    source = context.export_folder / "standard"
    graph = StandardGraph(source / fused.GRAPH)
    made = plan.make(graph, context.calibration_folder, options, clip, fold, smoothable=NORMS)
    errors = {matmul: error for choice in made.values() for matmul, error in choice.errors.items()}
    kept = {HEAD} | most_sensitive({name: error for name, error in errors.items() if name != HEAD}, options.keep_half)
    wanted = [matmul.node for matmul in graph.matmuls() if matmul.node not in kept]
    tensorrt_graph.to_fp16(graph.model)
    write_qdq(graph, {site: choice.clip for site, choice in made.items()}, skip=kept)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    say(f"tensorrt int8: {len(wanted)} matmuls meant for INT8, {len(kept)} kept in fp16")
    return {
        "weights": "int8 per channel",
        "compute": "int8 x int8, symmetric",
        "int8_layers": wanted,
        "kept_half": sorted(kept),
        "output_error_worst": max((errors[matmul] for matmul in wanted), default=0.0),
        "smooth_alphas": {site: choice.alpha for site, choice in made.items()},
    }


def most_sensitive(errors: Mapping[str, float], share: float) -> set[str]:
    """The `share` of matmuls with the largest error, rounded up to whole ones."""
    count = math.ceil(share * len(errors))
    return set(sorted(errors, key=lambda name: (-errors[name], name))[:count])


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


def clip(site: Site, sampled: plan.Sampled, options: plan.Options) -> Symmetric:
    """The range of one matmul input, the same on both sides of 0."""
    largest = float(site.absmax.max())
    if options.activations == "absmax":
        return Symmetric(largest)
    if options.activations == "percentile":
        return Symmetric(min(largest, float(np.percentile(np.abs(site.sample), options.percentile))))
    return min((Symmetric(largest * share) for share in plan.SHRINK), key=sampled.error)


def fold(graph: Graph, site: Site, readers: list[MatMul], alpha: float) -> Site:
    """SmoothQuant of an input that a norm makes (q, k, v; gate and up), exactly and in place."""
    _own_weight(graph, graph.producer(readers[0].input))
    return smooth.fold(graph, site, readers, alpha)


def _own_weight(graph: Graph, norm: Any) -> None:
    """The exporter lets norms share a weight where the values are equal: a fold must change one of them only."""
    name = norm.input[1]
    if len(list(graph.consumers(name))) > 1:
        graph.set_weight(f"{norm.name}/weight", graph.weight(name))
        norm.input[1] = f"{norm.name}/weight"


def write_qdq(graph: Graph, clips: Mapping[str, Symmetric], skip: set[str]) -> None:
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
