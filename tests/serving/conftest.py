"""Versions to serve: a tiny real one, and echoes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export import fused
from models import manifest, tokenizer_identity
from models.params import Recipe
from runtimes import echo
from tests.serving.running import Server, server

SLOW_MS = 20.0


@pytest.fixture(scope="session")
def real_version(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 for onnxruntime-genai, in fp32."""
    folder = tmp_path_factory.mktemp("served") / "fp32"
    fused.export(tiny_qwen2, folder, 2)
    tokenizer_identity.adopt(tiny_qwen2, folder)
    recipe = Recipe(quantizer="none", runtime="ort")
    manifest.write(folder, variant="fp32", recipe=recipe, model_folder=tiny_qwen2, facts={})
    return folder


@pytest.fixture(scope="session")
def echo_version(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An echo at full speed."""
    folder = tmp_path_factory.mktemp("served") / "echo"
    echo.write(folder, tiny_qwen2)
    return folder


@pytest.fixture(scope="session")
def slow_version(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An echo that needs `SLOW_MS` for every token."""
    folder = tmp_path_factory.mktemp("served") / "slow"
    echo.write(folder, tiny_qwen2, "slow", echo.Behaviour(step_ms=SLOW_MS))
    return folder


@pytest.fixture(scope="session")
def real(real_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(real_version, tmp_path_factory.mktemp("log") / "real.log") as running:
        yield running


@pytest.fixture(scope="session")
def echoing(echo_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(echo_version, tmp_path_factory.mktemp("log") / "echo.log") as running:
        yield running
