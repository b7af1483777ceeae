"""What a registered version asks pip for: versions that fit together, wherever its runtime is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

import runtimes
from core.errors import RegistryError
from host import packages
from models import manifest
from models.params import Recipe
from registry import store


def _version(folder: Path, model: Path, runtime: str) -> Path:
    folder.mkdir()
    manifest.write(
        folder, variant="v", recipe=Recipe(quantizer="none", runtime=runtime), model_folder=model, facts={}
    )
    return folder


@pytest.mark.parametrize("runtime", ["vllm", "ort_cuda"])
def test_a_runtime_with_its_own_environment_comes_with_that_ones_versions(
    runtime: str, tiny_qwen2: Path, tmp_path: Path
) -> None:
    environment = runtimes.traits(runtime).environment
    assert environment is not None
    pinned = packages.locked(store.ROOT / environment.lock)
    found = dict(line.split("==") for line in store._requirements(_version(tmp_path / "v", tiny_qwen2, runtime)))
    assert found.pop("mlflow") == metadata.version("mlflow")
    assert found == {name: pinned[name].split("+")[0] for name in found}
    assert {"vllm": "vllm", "ort_cuda": "onnxruntime-gpu"}[runtime] in found


def test_a_runtime_of_this_environment_comes_with_this_ones_versions(tiny_qwen2: Path, tmp_path: Path) -> None:
    found = store._requirements(_version(tmp_path / "v", tiny_qwen2, "ort"))
    assert f"transformers=={metadata.version('transformers')}" in found
    assert f"onnxruntime-genai=={metadata.version('onnxruntime-genai')}" in found


def test_a_runtime_found_nowhere_is_named(tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path)  # no lock
    with pytest.raises(RegistryError, match="v needs vllm, not installed here: register it where it was measured"):
        store._requirements(_version(tmp_path / "v", tiny_qwen2, "vllm"))
