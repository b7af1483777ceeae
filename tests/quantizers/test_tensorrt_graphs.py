"""The graphs that TensorRT is given: what they hold, that folds are exact, and that every matmul has its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calibration import statistics
from calibration.statistics import Site
from core.errors import ExportError, QuantizationError
from export import check, fused
from quantizers import Context, trt_int8
from quantizers.parts import plan, tensorrt_graph
from quantizers.parts.tensorrt_graph import StandardGraph, site_of_module
from quantizers.trt_int8 import Symmetric


def _graph(context: Context) -> StandardGraph:
    return StandardGraph(context.export_folder / "standard" / fused.GRAPH)


def test_every_matmul_has_the_name_of_its_module(workshop: Context) -> None:
    names = [matmul.node for matmul in _graph(workshop).matmuls()]
    assert names[:4] == [f"layers.0.self_attn.{part}_proj" for part in "qkvo"]
    assert names[4:7] == [f"layers.0.mlp.{part}_proj" for part in ("gate", "up", "down")]
    assert names[-1] == "lm_head"
    assert {matmul.site for matmul in _graph(workshop).matmuls()} == set(statistics.site_modules(2))


def test_a_module_that_calibration_does_not_know_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"'layers\.0\.mlp\.router'"):
        site_of_module("layers.0.mlp.router")


@pytest.mark.parametrize("alpha", [0.3, 0.7])
def test_smoothing_changes_no_logit(
    workshop: Context, original: check.Original, tmp_path: Path, alpha: float
) -> None:
    """Also where norms share one weight, as they do in a model whose norms are all ones."""
    graph = _graph(workshop)
    options = plan.Options(smooth_alphas=[alpha])
    before = {matmul.weight: graph.weight(matmul.weight) for matmul in graph.matmuls()}
    made = plan.make(graph, workshop.calibration_folder, options, trt_int8.clip, trt_int8.fold, trt_int8.NORMS)
    changed = {
        matmul.site
        for matmul in graph.matmuls()
        if not np.array_equal(before[matmul.weight], graph.weight(matmul.weight))
    }
    assert (
        changed
        == {site for site, choice in made.items() if choice.alpha}
        == {f"{layer}.{end}" for layer in range(2) for end in trt_int8.NORMS}
    )
    graph.save(tmp_path)
    original.compare(tmp_path / fused.GRAPH)


def test_the_most_sensitive_matmuls_stay_in_fp16(workshop: Context, tmp_path: Path) -> None:
    facts: dict[str, Any] = trt_int8.quantize(workshop, trt_int8.Options(keep_half=0.15), tmp_path)
    assert len(facts["kept_half"]) == 1 + 3  # of 14 beside the head
    assert trt_int8.most_sensitive({"a": 1.0, "b": 3.0, "c": 2.0}, 0.4) == {"b", "c"}
    assert trt_int8.most_sensitive({"a": 1.0}, 0) == set()


def test_rotary_angles_stay_in_float32(workshop: Context) -> None:
    graph = _graph(workshop)
    tensorrt_graph.to_fp16(graph.model)
    kinds = {tensor.name: tensor.data_type for tensor in graph.model.graph.initializer}
    floats = [name for name, kind in kinds.items() if kind == TensorProto.FLOAT]
    assert len(floats) >= 1
    assert all("inv_freq" in name or numpy_helper.to_array(graph.initializers[name]).size <= 16 for name in floats)
    assert {entry.type.tensor_type.elem_type for entry in graph.model.graph.output} == {TensorProto.FLOAT16}


def test_a_weight_that_fp16_cannot_hold_is_named(workshop: Context) -> None:
    graph = _graph(workshop)
    name = graph.matmuls()[0].weight
    graph.set_weight(name, graph.weight(name) * 1e7)
    with pytest.raises(ExportError, match=f"weight {name} reaches"):
        tensorrt_graph.to_fp16(graph.model)


def test_both_sides_are_symmetric_int8(workshop: Context, tmp_path: Path) -> None:
    facts = trt_int8.quantize(workshop, trt_int8.Options(keep_half=0), tmp_path)
    model = onnx.load(tmp_path / fused.GRAPH)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        zero = numpy_helper.to_array(tensors[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()
        assert tensors[node.input[1]].data_type == TensorProto.FLOAT16
    assert facts["kept_half"] == ["lm_head"]
    assert len([node for node in pairs if node.op_type == "QuantizeLinear"]) == 4 * 2, (
        "q, k, v share one; gate, up one"
    )
    weights = [tensor for name, tensor in tensors.items() if name.endswith("/int8")]
    assert len(weights) == 7 * 2
    assert all(np.abs(numpy_helper.to_array(tensor).astype(int)).max() == 127 for tensor in weights)


def test_a_symmetric_range_keeps_zero_and_rounds_by_half_a_step() -> None:
    clip = Symmetric(3.7)
    values = np.linspace(-3.7, 3.7, 999, dtype=np.float32)
    assert clip.apply(np.zeros(1, np.float32))[0] == 0
    assert np.abs(clip.apply(values) - values).max() <= clip.scale * 0.6
    np.testing.assert_array_equal(clip.apply(-values), -clip.apply(values))


def test_mse_range_ignores_an_outlier_that_absmax_keeps() -> None:
    rows = np.random.default_rng(0).normal(size=(40_000, 10)).astype(np.float32)
    rows[0, 0] = 90.0
    site = Site(rows.min(0), rows.max(0), rows.mean(0), rows, len(rows))
    even = plan.Sampled(rows.ravel(), np.ones(rows.size, np.float32))

    def largest(**options: object) -> float:
        return trt_int8.clip(site, even, plan.Options.model_validate(options)).largest

    assert largest(activations="absmax") == 90.0
    assert largest(activations="mse") < 50
    assert largest(activations="percentile", percentile=99.9) < 6
