"""Weights by block: what is written is what was rounded, and GPTQ minds the inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.torch import load_file, save_file

from export import fused
from export.graph import Graph
from models.params import Recipe
from quantizers import Context
from quantizers.parts import blocks
from quantizers.parts.blocks import Blocks
from runtimes import ort
from runtimes import torch as torch_runtime
from tests import tiny
from tests.models import made


def _weight_and_rows(channels_in: int, *, outliers: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(512, channels_in)) @ rng.normal(size=(channels_in, channels_in)) / channels_in**0.5
    rows[:, :outliers] *= 30
    return rng.normal(size=(channels_in, 48)).astype(np.float32), rows.astype(np.float32)


def _values(rounded: Blocks, channels_in: int) -> np.ndarray:
    """The weight (in, out) that `rounded` stands for, by the layout that MatMulNBits documents."""
    unpacked = [rounded.packed.reshape(len(rounded.scales), -1), rounded.zeros]
    levels, zeros = (
        part if rounded.bits == 8 else np.stack([part & 15, part >> 4], -1).reshape(len(part), -1)
        for part in unpacked
        if part is not None
    )
    levels = levels.reshape(*rounded.scales.shape, rounded.size).astype(np.float32)
    zeros = zeros[:, : rounded.scales.shape[1], None].astype(np.float32)
    return ((levels - zeros) * rounded.scales[..., None]).reshape(len(levels), -1)[:, :channels_in].T


# 80 and 72 leave a padded last block, and 72 an odd number of blocks.
@pytest.mark.parametrize(("bits", "size", "channels_in"), [(4, 32, 96), (4, 32, 80), (4, 16, 72), (8, 64, 80)])
def test_the_kernel_computes_what_was_rounded(bits: int, size: int, channels_in: int) -> None:
    weight, rows = _weight_and_rows(channels_in)
    (rounded,) = blocks.gptq([weight], rows, bits, size)
    off = _values(rounded, channels_in) - weight
    assert np.abs(off).max() < {4: 1.5, 8: 0.1}[bits]
    expected = rows @ _values(rounded, channels_in)
    assert _relative(_run(rounded, rows, channels_in), expected) < 0.02
    swapped = Blocks(rounded.packed, rounded.scales[:, ::-1].copy(), rounded.zeros, bits, size)
    assert _relative(_run(swapped, rows, channels_in), expected) > 0.05


def _run(rounded: Blocks, rows: np.ndarray, channels_in: int) -> np.ndarray:
    from onnx import TensorProto, helper, numpy_helper

    inputs = {"b": rounded.packed, "s": rounded.scales, "z": rounded.zeros}
    node = helper.make_node(
        "MatMulNBits", ["x", *inputs], ["y"], domain=blocks.DOMAIN, K=channels_in, N=len(rounded.scales),
        bits=rounded.bits, block_size=rounded.size, accuracy_level=blocks.INT8_ARITHMETIC,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, channels_in])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, len(rounded.scales)])],
        [numpy_helper.from_array(values, name) for name, values in inputs.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(blocks.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": rows})[0]
    return result


def _relative(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean()))


def test_weights_that_read_one_input_come_out_as_each_by_itself() -> None:
    weight, rows = _weight_and_rows(64)
    together = blocks.gptq([weight[:, :16], weight[:, 16:]], rows, 4, 32)
    for part, alone in zip(together, (weight[:, :16], weight[:, 16:]), strict=True):
        (single,) = blocks.gptq([alone], rows, 4, 32)
        assert np.array_equal(part.packed, single.packed)
        assert np.array_equal(part.scales, single.scales)


def test_a_channel_that_the_sample_never_saw_keeps_its_weights() -> None:
    weight, rows = _weight_and_rows(64)
    rows[:, 5] = 0
    (rounded,) = blocks.gptq([weight], rows, 4, 32)
    assert np.abs(_values(rounded, 64)[5] - weight[5]).max() < 0.5
    (blind,) = blocks.gptq([weight], np.zeros_like(rows), 4, 32)
    assert np.abs(_values(blind, 64) - weight).max() < 0.5


@pytest.fixture(scope="module")
def outliers(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A model whose norms make three channels 20 times as large as the others."""
    folder = tmp_path_factory.mktemp("outliers")
    model = tiny.make(folder / "model", "llama", hidden=128, layers=3, initializer_range=0.08)
    weights = load_file(model / "model.safetensors")
    for name, values in weights.items():
        if name.endswith("layernorm.weight"):
            values[[3, 40, 77]] *= 20
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    return made.context(model, folder, made.items(model, 32))


def test_gptq_keeps_more_of_a_model_with_outlier_channels(outliers: Context, tmp_path: Path) -> None:
    tokens = np.random.default_rng(1).integers(10, 290, (8, 24)).tolist()
    expected = np.stack(torch_runtime.load(outliers.model_folder, made.THREADS).logits(tokens))
    kl = {}
    for algorithm in ("nearest", "gptq"):
        options = {"bits": 4, "block_size": 32, "algorithm": algorithm}
        recipe = Recipe(quantizer="weight_only", runtime="ort", options=options)
        runtime = ort.load(made.variant("int4", recipe, outliers, tmp_path / algorithm), made.THREADS)
        kl[algorithm] = _kl(expected, np.stack(runtime.logits(tokens)))
        runtime.close()
    assert kl["gptq"] < 0.5 * kl["nearest"]


def test_matmuls_that_the_recipe_names_have_eight_bits(outliers: Context, tmp_path: Path) -> None:
    options = {"bits": 4, "block_size": 32, "algorithm": "nearest", "eight_bits": ["down_proj"]}
    recipe = Recipe(quantizer="weight_only", runtime="ort", options=options)
    graph = Graph(made.variant("int4", recipe, outliers, tmp_path / "int4") / fused.GRAPH)
    bits = {
        node.name.split("/")[-2]: next(field.i for field in node.attribute if field.name == "bits")
        for node in graph.model.graph.node
        if node.op_type == "MatMulNBits"
    }
    assert bits == {"qkv_proj": 4, "o_proj": 4, "gate_proj": 4, "up_proj": 4, "down_proj": 8, "lm_head": 8}


def _kl(expected: np.ndarray, actual: np.ndarray) -> float:
    """Mean over tokens of KL(original || variant), nats."""
    log_p, log_q = (logits - np.logaddexp.reduce(logits, -1, keepdims=True) for logits in (expected, actual))
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())
