"""The same tiny model from every kind of place arrives as the same files; what cannot work is refused early."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.errors import ResourceError, SourceError, UnsupportedModelError
from models import manifest, source
from models.families import Architecture
from models.params import ModelParams
from models.sources import open_source
from models.sources.mlflow import PATIENCE
from tests.parts.hub import Hub, hub
from tests.parts.seaweed import S3, s3


@pytest.fixture(autouse=True)
def _cache_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))


@pytest.fixture
def model(tiny_qwen2: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil, with things beside it that do not belong to the model."""
    folder = tmp_path / "original"
    shutil.copytree(tiny_qwen2, folder)
    (folder / "README.md").write_text("card")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def served_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def served_hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub(model) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield mlflow
    mlflow.set_tracking_uri(before)


def _is_the_model(folder: Path, original: Path) -> None:
    assert manifest.source_digest(folder) == manifest.source_digest(original)
    assert {file.name for file in folder.iterdir()} == set(manifest.source_files(original))
    assert not any(file.is_symlink() for file in folder.rglob("*"))


# ── a folder ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_local_folder_is_hard_linked_without_what_is_not_the_model(model: Path, tmp_path: Path) -> None:
    seen: list[Architecture] = []
    folder = source.resolve(ModelParams(source=str(model)), tmp_path / "model", seen.append)
    _is_the_model(folder, model)
    assert (folder / "model.safetensors").samefile(model / "model.safetensors")
    assert [architecture.family for architecture in seen] == ["qwen2"]


def test_local_folder_on_another_device_is_copied(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    folder = source.resolve(ModelParams(source=str(model)), tmp_path / "model")
    _is_the_model(folder, model)
    assert not (folder / "model.safetensors").samefile(model / "model.safetensors")


def test_links_in_a_local_folder_are_followed(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").rename(tmp_path / "blob")
    (model / "model.safetensors").symlink_to(tmp_path / "blob")
    _is_the_model(source.resolve(ModelParams(source=str(model)), tmp_path / "model"), model)


def test_a_refused_model_leaves_the_old_folder(model: Path, tmp_path: Path) -> None:
    params = ModelParams(source=str(model))
    folder = source.resolve(params, tmp_path / "model")
    before = manifest.source_digest(folder)
    (model / "tokenizer.json").unlink()
    with pytest.raises(Exception, match=r"has no tokenizer\.json"):
        source.resolve(params, folder)
    assert manifest.source_digest(folder) == before
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_architecture_needs_no_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")
    assert source.architecture_of(ModelParams(source=str(model))).layers == 2


def test_checks_run_before_weights_are_read(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")  # would be refused, later

    def no_room(_: Architecture) -> None:
        raise ResourceError("no room")

    with pytest.raises(ResourceError, match="no room"):
        source.resolve(ModelParams(source=str(model)), tmp_path / "model", no_room)


@pytest.mark.parametrize(
    ("address", "revision", "message"),
    [
        ("no-such-folder/model", None, "is no folder here; as a hub id it needs model.revision, a full commit hash"),
        ("/no/such/folder", None, "neither a folder here, a hub id, s3://… nor models:/name@alias"),
        ("s3://bucket", None, "must be s3://bucket/prefix"),
        ("s3://bucket/model", "a1" * 20, "model.revision is for the hub"),
        ("models:/name", None, "must be models:/name@alias or models:/name/version"),
    ],
)
def test_a_wrong_address_says_what_is_needed(
    address: str, revision: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        source.resolve(ModelParams(source=address, revision=revision), tmp_path / "model")


def test_a_folder_is_known_by_its_files_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    before = open_source(ModelParams(source=str(model))).identity()
    assert before == {name: entry.sha256 for name, entry in manifest.source_files(model).items()}
    (model / "README.md").write_text("another card")
    assert open_source(ModelParams(source=str(model.rename(tmp_path / "moved")))).identity() == before


# ── the hub ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_hub_model_arrives_and_only_its_own_files_are_fetched(served_hub: Hub, model: Path, tmp_path: Path) -> None:
    params = ModelParams(source=served_hub.repository, revision=served_hub.commit)
    _is_the_model(source.resolve(params, tmp_path / "model"), model)
    assert not any("pytorch_model.bin" in line or "params.json" in line for line in served_hub.requests)


def test_cached_hub_model_works_without_a_network(served_hub: Hub, model: Path, tmp_path: Path) -> None:
    params = ModelParams(source=served_hub.repository, revision=served_hub.commit)
    source.resolve(params, tmp_path / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
        _is_the_model(source.resolve(params, tmp_path / "second"), model)


def test_other_family_on_the_hub_is_refused_before_its_weights(served_hub: Hub, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config.update(architectures=["MistralForCausalLM"], model_type="mistral")
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=r"someone/model: architectures \['MistralForCausalLM'\]"):
        source.resolve(ModelParams(source=served_hub.repository, revision=served_hub.commit), tmp_path / "model")
    assert not any("safetensors" in line for line in served_hub.requests)


def test_unknown_hub_revision_is_named(served_hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"someone/model@b2b2b2b2b2b2 could not be fetched from the hub: .*404"):
        source.resolve(ModelParams(source=served_hub.repository, revision="b2" * 20), tmp_path / "model")


def test_offline_without_a_cached_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"someone/model@c3c3c3c3c3c3 could not be fetched from the hub: .*offline"):
        source.resolve(ModelParams(source="someone/model", revision="c3" * 20), tmp_path / "model")


def test_a_hub_model_is_known_by_its_commit_without_a_network() -> None:
    found = open_source(ModelParams(source="someone/model", revision="c3" * 20))
    assert found.identity() == {"revision": "c3" * 20}


# ── S3 ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _upload(served: S3, folder: Path, prefix: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            served.client().upload_file(str(file), "models", f"{prefix}/{file.relative_to(folder).as_posix()}")


@pytest.fixture
def s3_environment(served_s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name, value in served_s3.environment.items():
        monkeypatch.setenv(name, value)
    return served_s3


def test_s3_model_arrives(s3_environment: S3, model: Path, tmp_path: Path) -> None:
    _upload(s3_environment, model, "a/b")
    _is_the_model(source.resolve(ModelParams(source="s3://models/a/b"), tmp_path / "model"), model)
    assert not any((paths.CACHE / "downloads").iterdir()), "a finished download is not kept twice"


def test_s3_download_goes_on_where_it_was_stopped(
    s3_environment: S3, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upload(s3_environment, model, "stopped")
    from models.sources.s3 import S3Source

    downloaded: list[str] = []
    real = S3Source._download

    def counted(self: S3Source, name: str, path: Path) -> None:
        downloaded.append(name)
        if len(downloaded) == 3:
            raise KeyboardInterrupt
        real(self, name, path)

    monkeypatch.setattr(S3Source, "_download", counted)
    params = ModelParams(source="s3://models/stopped")
    with pytest.raises(KeyboardInterrupt):
        source.resolve(params, tmp_path / "model")
    _is_the_model(source.resolve(params, tmp_path / "model"), model)
    assert len(downloaded) == len(manifest.source_files(model)) + 1, "only the stopped file is fetched again"


def test_s3_errors_name_the_place(s3_environment: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="s3://models/nothing holds no files: check bucket and prefix"):
        source.resolve(ModelParams(source="s3://models/nothing"), tmp_path / "model")
    with pytest.raises(SourceError, match=r"s3://no-such-bucket/x could not be listed: .*NoSuchBucket"):
        source.resolve(ModelParams(source="s3://no-such-bucket/x"), tmp_path / "model")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceError, match=r"s3://models/a could not be listed: .*SignatureDoesNotMatch"):
        source.resolve(ModelParams(source="s3://models/a"), tmp_path / "model")


def test_s3_model_is_known_by_its_objects_tags(s3_environment: S3, model: Path) -> None:
    _upload(s3_environment, model, "known")
    params = ModelParams(source="s3://models/known")
    before = open_source(params).identity()
    assert before.keys() == manifest.source_files(model).keys()
    assert open_source(params).identity() == before
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    (model / "README.md").write_text("another card")
    _upload(s3_environment, model, "known")
    now = open_source(params).identity()
    assert {name for name in now if now[name] != before[name]} == {"model.safetensors"}


# ── the MLflow registry ───────────────────────────────────────────────────────────────────────────────────────────
def _register(mlflow: Any, folders: dict[str, Path], name: str = "small") -> None:
    """A version with the alias `candidate` whose artifacts are `folders` (artifact path → folder)."""
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for path, folder in folders.items():
            mlflow.log_artifacts(str(folder), f"kept/{path}" if path else "kept")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/kept", run.info.run_id)
    client.set_registered_model_alias(name, "candidate", version.version)


@pytest.mark.parametrize("address", ["models:/small@candidate", "models:/small/1"])
def test_registered_model_arrives(registry: Any, model: Path, tmp_path: Path, address: str) -> None:
    _register(registry, {"": model})
    _is_the_model(source.resolve(ModelParams(source=address), tmp_path / "model"), model)


def test_registered_model_in_the_layout_of_mlflow_transformers(registry: Any, model: Path, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    shutil.copytree(model, tmp_path / "weights")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "weights" / name).rename(tokenizer / name)
    _register(registry, {"model": tmp_path / "weights", "components/tokenizer": tokenizer})
    _is_the_model(source.resolve(ModelParams(source="models:/small@candidate"), tmp_path / "model"), model)


def test_a_registered_model_is_known_by_the_version_behind_the_alias(registry: Any, model: Path) -> None:
    params = ModelParams(source="models:/small@candidate")
    _register(registry, {"": model})
    first = open_source(params).identity()
    assert open_source(params).identity() == first == open_source(ModelParams(source="models:/small/1")).identity()
    _register(registry, {"": model})  # moves the alias
    second = open_source(params).identity()
    assert (first["version"], second["version"]) == ("1", "2")
    assert first["run_id"] != second["run_id"]
    registry.MlflowClient().delete_registered_model("small")
    _register(registry, {"": model})
    again = open_source(params).identity()
    assert again["version"] == "1"
    assert again != first, "another version of that number"


def test_a_registry_that_is_away_is_said_within_seconds(monkeypatch: pytest.MonkeyPatch, registry: Any) -> None:
    registry.set_tracking_uri("http://127.0.0.1:9")  # nothing listens there
    for name in PATIENCE:
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"models:/small@candidate could not be looked up: .*127\.0\.0\.1"):
        open_source(ModelParams(source="models:/small@candidate"))
    assert time.monotonic() - begun < 30


def test_registry_errors_name_the_version(registry: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"models:/small@candidate is not in the MLflow registry: .*small"):
        source.resolve(ModelParams(source="models:/small@candidate"), tmp_path / "model")
    (model / "model.safetensors").rename(model / "model.onnx")
    _register(registry, {"": model})
    with pytest.raises(SourceError, match=r"one folder with config\.json and safetensors is needed, found: none"):
        source.resolve(ModelParams(source="models:/small@candidate"), tmp_path / "model")
