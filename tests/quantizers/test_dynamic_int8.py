"""int8-dynamic: one scale for each token, so that a row's result is its own, whoever stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from core.errors import QuantizationError
from export import fused
from export.graph import Graph
from quantizers import Context, dynamic_int8
from quantizers.parts import plan

NODE = "/model/layers.0/mlp/down_proj/MatMul"


def _run(folder: Path, weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One matmul, quantized as the recipe does it."""
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size])]
        for name, size in (("x", weight.shape[0]), ("y", weight.shape[1]))
    )
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name=NODE)], "one", inputs, outputs)
    body.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=10), folder / fused.GRAPH)
    graph = Graph(folder / fused.GRAPH)
    dynamic_int8.write(graph)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": rows})
    return np.asarray(result)


def test_an_outlier_of_one_token_changes_no_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, rows = rng.normal(size=(64, 48)).astype(np.float32), rng.normal(size=(3, 64)).astype(np.float32)
    rows[2] = 0
    before = _run(tmp_path, weight, rows)
    with_outlier = rows.copy()
    with_outlier[0, 7] = 5000.0
    after = _run(tmp_path, weight, with_outlier)
    np.testing.assert_array_equal(before[1:], after[1:])
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[2], 0)
    assert np.abs(before[:2] - rows[:2] @ weight).max() < 0.03 * np.abs(rows @ weight).max()


def test_levels_are_those_of_the_row(tmp_path: Path) -> None:
    """What the graph computes, in numpy."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(32, 16)).astype(np.float32)
    rows = (rng.normal(size=(4, 32)) * [[1], [10], [0.01], [1000]]).astype(np.float32)
    step = np.abs(rows).max(1, keepdims=True) / dynamic_int8.LEVELS
    expected = (np.round(rows / step) * step) @ plan.rounded_weight(weight)
    np.testing.assert_allclose(_run(tmp_path, weight, rows) / step, expected / step, rtol=1e-3, atol=0.2)


def test_every_matmul_is_an_integer_one(workshop: Context, tmp_path: Path) -> None:
    facts: dict[str, Any] = dynamic_int8.quantize(workshop, dynamic_int8.Options(), tmp_path)
    assert facts["integer_matmuls"] == facts["operators"]["MatMulIntegerToFloat"] == 10
    assert "MatMul" not in facts["operators"]
    assert not {"DynamicQuantizeMatMul", "DynamicQuantizeLinear"} & set(facts["operators"])  # one scale a batch


def test_a_matmul_left_in_float_is_named(workshop: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic_int8, "write", lambda graph: None)
    with pytest.raises(QuantizationError, match="10 matmuls were meant to run in integers and do not"):
        dynamic_int8.quantize(workshop, dynamic_int8.Options(), tmp_path)
