"""One record sets the engine that is measured and the engine that is deployed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from models import families, manifest, vllm_settings
from models.params import Recipe
from models.vllm_settings import EngineSettings
from quantizers import Context, checkpoint, fp8, gptq
from runtimes import vllm

SETTINGS = EngineSettings(
    quantization="compressed-tensors", max_num_seqs=64, max_model_len=4096, kv_cache_dtype="fp8", cuda_graphs=False
)


def _version(tmp_path: Path, model: Path, facts: dict[str, object]) -> Path:
    folder = tmp_path / "version"
    folder.mkdir()
    manifest.write(
        folder, variant="v", recipe=Recipe(quantizer="fp8", runtime="vllm"), model_folder=model, facts=facts
    )
    return folder


def test_the_manifest_gives_back_what_the_recipe_said(tmp_path: Path, tiny_qwen2: Path) -> None:
    folder = _version(tmp_path, tiny_qwen2, {"engine": SETTINGS.model_dump()})
    assert vllm_settings.of(folder) == SETTINGS


def test_a_version_for_another_runtime_or_with_a_wrong_setting_is_refused(tmp_path: Path, tiny_qwen2: Path) -> None:
    folder = _version(tmp_path, tiny_qwen2, {})
    with pytest.raises(ConfigError, match="no vLLM settings in its manifest"):
        vllm_settings.of(folder)
    recipe = Recipe(quantizer="fp8", runtime="vllm")
    manifest.write(folder, variant="v", recipe=recipe, model_folder=tiny_qwen2, facts={"engine": {"dtype": "int3"}})
    with pytest.raises(ConfigError, match="dtype"):
        vllm_settings.of(folder)


def test_what_was_measured_is_what_serves() -> None:
    engine = vllm_settings.engine_arguments(SETTINGS, Path("/models/v"))
    served = vllm_settings.serve_arguments(SETTINGS, "/models/v", "assay", port=9000)
    assert served == [
        "/models/v",
        "--tokenizer=/models/v/tokenizer",
        "--served-model-name=assay",
        "--port=9000",
        "--load-format=safetensors",
        "--dtype=bfloat16",
        "--quantization=compressed-tensors",
        "--max-num-seqs=64",
        "--max-num-batched-tokens=16384",
        "--max-model-len=4096",
        "--kv-cache-dtype=fp8",
        "--gpu-memory-utilization=0.85",
        "--generation-config=vllm",
        "--no-enable-prefix-caching",
        "--enforce-eager",
    ]
    for name, value in (argument[2:].split("=") for argument in served[5:13]):
        assert str(engine[name.replace("-", "_")]) == value
    assert engine["enforce_eager"] is True
    assert engine["enable_prefix_caching"] is False


def test_defaults_leave_the_engine_its_own_choice() -> None:
    served = vllm_settings.serve_arguments(EngineSettings(), "/models/v", "assay")
    assert not [one for one in served if "max-model-len" in one or "quantization" in one or "eager" in one]
    assert vllm_settings.engine_arguments(EngineSettings(kv_cache_mib=2), Path("v"))["kv_cache_memory_bytes"] == 2**21


R1_QWEN = {"layers": 28, "kv_heads": 2, "head_dim": 128, "max_position_embeddings": 131072}  # R1-Distill-Qwen-1.5B


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, None),
        ({"kv_cache_mib": 3584}, None),
        (
            {"kv_cache_mib": 2048},
            "kv_cache_mib is 2048, but one request of 131072 tokens needs 3584: raise it",
        ),
        ({"kv_cache_mib": 2048, "kv_cache_dtype": "fp8"}, None),
        ({"kv_cache_mib": 2048, "max_model_len": 32768}, None),
        ({"max_model_len": 131073}, "max_model_len is 131073, the model ends at 131072 positions"),
    ],
)
def test_settings_that_vllm_would_refuse_are_refused_first(
    settings: dict[str, Any], message: str | None, tiny_qwen2: Path
) -> None:
    architecture = families.read(tiny_qwen2).model_copy(update=R1_QWEN)
    if message is None:
        vllm_settings.check(EngineSettings(**settings), architecture)
    else:
        with pytest.raises(ConfigError, match=message):
            vllm_settings.check(EngineSettings(**settings), architecture)


def test_a_quantizer_refuses_them_before_it_loads_a_weight(tiny_qwen2: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_qwen2 / "config.json", tmp_path)
    context = Context(tmp_path, tmp_path, tmp_path, tmp_path, 1, 0)
    for quantizer, options in ((checkpoint, {}), (fp8, {}), (gptq, {"bits": 4})):
        found = quantizer.Options.model_validate({**options, "engine": {"max_model_len": 1000}})
        with pytest.raises(ConfigError, match="the model ends at 512 positions"):
            quantizer.quantize(context, found, tmp_path / "out")


def test_where_vllm_is_missing_the_reason_says_what_it_needs() -> None:
    assert vllm.available() == "vLLM is not installed: `make setup-gpu` on a machine with an NVIDIA GPU"
