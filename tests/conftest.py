"""Fixtures that many rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run beside each other on few cores: torch must not spin (see core/cli.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import runtimes
from export import check
from host import interpreter
from quantizers import Context
from tests import tiny
from tests.evaluation.made import runtime_folders
from tests.models import made


@pytest.fixture(autouse=True)
def stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command called in a test's process must not replace it, also where there is a `.venv-gpu`."""
    monkeypatch.setattr(interpreter, "switch_interpreter", lambda environment: None)


@pytest.fixture(autouse=True)
def forget_registry() -> Iterator[None]:
    """MLflow's set_tracking_uri writes the environment, which the commands that a later test starts would inherit."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime tests/evaluation/runtimes/canned.py is known, in this test alone."""
    monkeypatch.setattr(runtimes, "__path__", runtime_folders())


@pytest.fixture(scope="session")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("qwen2"), "qwen2")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="session", params=["qwen2", "llama"])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A tiny model, exported and calibrated: what every quantizer starts from."""
    model_folder: Path = request.getfixturevalue(f"tiny_{request.param}")
    return made.context(model_folder, tmp_path_factory.mktemp(request.param), made.items(model_folder, 32))


@pytest.fixture(scope="session")
def original(workshop: Context) -> check.Original:
    """The tiny model in torch, with which its graphs are compared."""
    return check.Original(workshop.model_folder, workshop.data_folder, made.THREADS)
