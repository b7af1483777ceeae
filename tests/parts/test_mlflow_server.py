"""The server that other tests build on: aliases and files come back, and a restart forgets nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models import manifest
from rollout.aliases import MlflowRegistry
from tests.parts import mlflow_server
from tests.rollout.stage import version


def test_versions_aliases_and_files_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    before, folder = mlflow.get_tracking_uri(), version(tmp_path, "v1")
    with mlflow_server.running(tmp_path / "mlflow") as server:
        number = server.register("assay", folder)
        server.client().set_registered_model_alias("assay", "approved", str(number))
        server.stop()
        server.start()
        for key, value in server.environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr("rollout.aliases.VERSIONS", tmp_path / "versions")
        registry = MlflowRegistry("assay")
        assert registry.alias("approved") == number == 1
        assert registry.version(1).evidence == "pass"
        fetched = registry.folder(registry.version(1))
        assert manifest.digest(fetched) == manifest.digest(folder)
        assert manifest.verify(fetched).variant == "v1"
        group = server.process.pid if server.process else 0
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    mlflow.set_tracking_uri(before)
