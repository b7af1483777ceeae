"""The checkpoints for vLLM: what was asked is quantized, they load again, and they follow the original."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open

from core.errors import QuantizationError
from models import manifest, vllm_settings
from models.params import Recipe
from quantizers import Context, gptq
from tests.models import made

RECIPES = {
    "bf16": Recipe(quantizer="checkpoint", runtime="vllm"),
    "fp8": Recipe(quantizer="fp8", runtime="vllm"),
    "w8a8-int8": Recipe(
        quantizer="gptq", runtime="vllm", options={"bits": 8, "activations": "static", "smooth_alpha": 0.5}
    ),
    "w4a16-int4": Recipe(quantizer="gptq", runtime="vllm", options={"bits": 4, "group_size": 32}),
}
# Largest mean |difference| of the logits, as a share of their standard deviation, on a random model in bf16.
TOLERANCE = {"bf16": 0.02, "fp8": 0.25, "w8a8-int8": 0.25, "w4a16-int4": 0.5}
STORED = {"fp8": ("weight", torch.float8_e4m3fn), "w8a8-int8": ("weight", torch.int8)}
STORED |= {"w4a16-int4": ("weight_packed", torch.int32)}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _make(name: str, context: Context, folder: Path) -> Path:
    return made.variant(name, RECIPES[name], context, folder)


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_checkpoint_loads_again_and_follows_the_original(name: str, workshop: Context, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = _make(name, workshop, tmp_path / name)
    assert manifest.verify(folder).runtime == "vllm"
    ids = torch.tensor(np.random.default_rng(0).integers(10, 290, (2, 20)))
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(workshop.model_folder, dtype=torch.float32)(ids).logits
        actual = AutoModelForCausalLM.from_pretrained(folder)(ids).logits.float()
    difference = float((actual - expected).abs().mean() / expected.std())
    assert difference < TOLERANCE[name]
    assert difference > 0


@pytest.mark.parametrize("name", list(STORED))
def test_every_linear_layer_is_stored_as_asked_and_the_head_is_not(
    name: str, workshop: Context, tmp_path: Path
) -> None:
    folder = _make(name, workshop, tmp_path / name)
    suffix, dtype = STORED[name]
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        stored = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118 - no mapping
    layers = {key for key in stored if key.endswith(f".{suffix}") and key.split(".")[-2] in LINEAR}
    assert len(layers) == 2 * len(LINEAR)
    assert {stored[key].dtype for key in layers} == {dtype}
    assert stored["lm_head.weight"].dtype == torch.bfloat16
    activations = {key for key in stored if key.endswith(".input_scale")}
    assert len(activations) == (0 if name == "w4a16-int4" else 2 * len(LINEAR))
    assert all(stored[key].numel() == 1 for key in activations), "one static scale a layer"
    facts = manifest.read(folder).facts
    assert (facts["quantized_layers"], facts["kept_wide"]) == (2 * len(LINEAR), ["lm_head"])
    assert vllm_settings.of(folder).quantization == "compressed-tensors"
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    source = (workshop.model_folder / "tokenizer.json").read_bytes()
    assert (folder / "tokenizer.json").read_bytes() == source


def test_the_same_work_gives_the_same_manifest(workshop: Context, tmp_path: Path) -> None:
    first, second = (_make("w8a8-int8", workshop, tmp_path / part / "w8a8-int8") for part in "ab")
    assert manifest.digest(first) == manifest.digest(second)


def test_a_group_that_does_not_divide_a_layer_is_refused_by_name(workshop: Context, tmp_path: Path) -> None:
    options = gptq.Options(bits=4, group_size=128)
    with pytest.raises(
        QuantizationError, match=r"group_size 128 does not divide .*layers\.0\.self_attn\.q_proj \(64\)"
    ):
        gptq.quantize(workshop, options, tmp_path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bits": 4, "activations": "static"}, "static activations go with bits: 8"),
        ({"bits": 8, "smooth_alpha": 0.5}, "needs activations: static"),
        ({"bits": 8, "activations": "static", "dynamic": ["down"]}, "'o_proj' or 'down_proj'"),
        ({"bits": 8, "activations": "static", "dynamic": ["q_proj"]}, "'o_proj' or 'down_proj'"),
        ({"bits": 8, "engine": {"max_seqs": 4}}, "Extra inputs"),
        ({"bits": 8, "engine": {"gpu_memory_utilization": 1.5}}, "less than 1"),
    ],
)
def test_options_without_a_kernel_or_a_meaning_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        gptq.Options.model_validate(options)
