"""The MLflow side on a real store: evidence, aliases, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import IntegrityError, RegistryError
from models import manifest
from registry import store
from rollout.aliases import CHAMPION, PREVIOUS, MlflowRegistry
from tests.rollout.stage import version


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with versions 1 to 4 of `assay`: evidence passed, missing, passed but for one gate, passed again."""
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        patch.chdir(root)
        client = store.connect()
        client.create_registered_model("assay")
        for number, tags in enumerate(
            (
                {"validation_status": "passed", "verdict.drift": "pass"},
                {},
                {"validation_status": "passed", "verdict.drift": "inconclusive"},
                {"validation_status": "passed"},
            ),
            start=1,
        ):
            folder = version(root, f"v{number}")
            digest = manifest.digest(folder)
            (root / f"artifacts-{number}").mkdir()
            folder.rename(root / f"artifacts-{number}" / "variant")
            source = (root / f"artifacts-{number}").as_uri()
            client.create_model_version("assay", source, tags={"manifest_sha256": digest, **tags})
        yield client


@pytest.fixture
def found(client: Any) -> MlflowRegistry:
    return MlflowRegistry("assay")


def test_a_pass_is_a_pass_of_every_gate(found: MlflowRegistry) -> None:
    assert [found.version(number).evidence for number in (1, 2, 3)] == ["pass", "inconclusive", "inconclusive"]
    assert found.version(2).why == "validation_status = not set"
    assert "verdict.drift = inconclusive" in found.version(3).why
    with pytest.raises(RegistryError):
        found.version(9)
    digest = found.version(1).digest
    assert found.by_digest(digest) == found.version(1)
    assert found.by_digest("f" * 64) is None


def test_aliases_move_together_and_again(found: MlflowRegistry) -> None:
    assert found.alias(CHAMPION) is None
    for _ in range(2):
        found.set_aliases(1, None)
        assert (found.alias(CHAMPION), found.alias(PREVIOUS)) == (1, None)
    for _ in range(2):
        found.set_aliases(2, 1)
        assert (found.alias(CHAMPION), found.alias(PREVIOUS)) == (2, 1)


def test_the_files_of_a_version_are_fetched_once_and_whole(
    found: MlflowRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rollout.aliases.VERSIONS", tmp_path / "versions")
    folder = found.folder(found.version(1))
    assert manifest.verify(folder).variant == "v1"
    assert manifest.digest(folder) == found.version(1).digest
    (folder / "mark").touch()
    assert (found.folder(found.version(1)) / "mark").exists(), "not fetched again"
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [folder.name], "nothing is left beside it"


def test_files_that_are_not_what_was_registered_are_refused(
    found: MlflowRegistry, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.aliases.VERSIONS", tmp_path / "versions")
    client.set_model_version_tag("assay", "4", "manifest_sha256", "e" * 64)
    with pytest.raises(IntegrityError, match="no folder with manifest eeeeeeeeeeee"):
        found.folder(found.version(4))
    assert not (tmp_path / "versions" / ("e" * 64)).exists()
