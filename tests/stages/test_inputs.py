"""The stage as DVC runs it: what changed outside the project is prepared again, what did not change costs nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file, save_file

from core import paths
from data.inputs import Inputs
from tests.parts import mlflow_server, project
from tests.parts.seaweed import S3, s3

LINES = [{"question": f"Add {number} and {number * number}.", "answer": "?"} for number in range(2, 302)]


def _project(folder: Path, source: str) -> Path:
    """A copy whose model is `source` and whose one suite is a file beside it."""
    project.small(folder, Path(), ["fp32"])
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["model"]["source"] = source
    params["data"]["suites"] = {"mine": {"kind": "jsonl", "options": {"path": "mine.jsonl"}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "mine.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the user's own, outside the project."""
    return Path(shutil.copytree(tiny_qwen2, tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="module")
def prepared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _project(tmp_path_factory.mktemp("inputs") / "project", str(trained))
    assert _ran(folder) == ["inputs", "prepare"]
    return folder


def _ran(folder: Path) -> list[str]:
    """Stages that plain `dvc repro prepare` ran."""
    return re.findall("Running stage '(.+)'", project.run(folder, "-m", "dvc", "repro", "prepare", check=True).stdout)


def _retrain(model: Path) -> None:
    """Other weights of the same shape, as a trainer saves them: in place."""
    weights = load_file(model / "model.safetensors")
    save_file({name: -value for name, value in weights.items()}, model / "model.safetensors", {"format": "pt"})


def _look(folder: Path, **environment: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return project.run(folder, "-m", "stages.inputs")


def _identity(folder: Path) -> dict[str, str]:
    return Inputs.read(folder / paths.INPUTS).by_key["model.source"].identity


@pytest.mark.timeout(400)
def test_plain_dvc_repro_prepares_what_changed_outside(prepared: Path, trained: Path) -> None:
    for file in (*trained.iterdir(), prepared / "mine.jsonl"):
        os.utime(file)
    assert _ran(prepared) == ["inputs"]

    _retrain(trained)
    assert _ran(prepared) == ["inputs", "prepare"]
    weights = prepared / paths.MODEL / "model.safetensors"
    assert weights.read_bytes() == (trained / "model.safetensors").read_bytes()

    (prepared / "mine.jsonl").write_text((prepared / "mine.jsonl").read_text().replace("Add", "Sum"))
    assert _ran(prepared) == ["inputs", "prepare"]
    assert _ran(prepared) == ["inputs"]


def test_a_look_takes_no_heavy_import_and_little_time(prepared: Path) -> None:
    took_s = []
    for _ in range(5):
        begun = time.monotonic()
        assert _look(prepared).stderr == "inputs: model.source, data.suites.mine unchanged\n"
        took_s.append(time.monotonic() - begun)
    assert min(took_s) < 1.5
    loaded = project.run(prepared, "-c", "import sys, stages.inputs; stages.inputs.main(); print(*sys.modules)")
    assert not {"torch", "transformers", "mlflow", "boto3", "pyarrow"} & set(loaded.stdout.split())


def test_what_changes_while_it_is_read_is_refused(prepared: Path, trained: Path) -> None:
    _look(prepared)
    _retrain(trained)
    refused = project.run(prepared, "-m", "stages.prepare")
    assert refused.returncode == 1
    assert "error: model.source changed since the stage `inputs` looked: run `dvc repro` again" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_out_of_reach_is_a_warning_unless_strict_and_an_error_without_a_record(prepared: Path, trained: Path) -> None:
    _look(prepared)
    before = (prepared / paths.INPUTS).read_bytes()
    trained.rename(trained.with_name("unmounted"))
    try:
        kept, strict = _look(prepared), _look(prepared, ASSAY_STRICT="1")
        (prepared / paths.INPUTS).unlink()
        unknown = _look(prepared)
    finally:
        trained.with_name("unmounted").rename(trained)
        (prepared / paths.INPUTS).write_bytes(before)
    assert kept.returncode == 0
    assert "warning: model.source could not be looked at and is taken as unchanged: model.source" in kept.stderr
    assert (strict.returncode, unknown.returncode) == (1, 1)
    assert strict.stderr == unknown.stderr
    assert re.fullmatch(r"error: model\.source '.+' is neither a folder here, .+\n", unknown.stderr)


def test_later_jobs_of_a_pipeline_take_what_the_first_recorded(prepared: Path, trained: Path) -> None:
    _look(prepared)
    before = (prepared / paths.INPUTS).read_bytes()
    _retrain(trained)
    assert _look(prepared, ASSAY_INPUTS="recorded").returncode == 0
    assert (prepared / paths.INPUTS).read_bytes() == before
    assert _look(prepared).stderr == "inputs: model.source changed\n"


@pytest.fixture(scope="module")
def served_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


def test_an_object_that_is_replaced_and_a_bucket_that_is_away(served_s3: S3, tmp_path: Path) -> None:
    folder = _project(tmp_path / "project", "s3://models/mine")
    client = served_s3.client()
    for name, body in {"config.json": b"{}", "model.safetensors": b"1"}.items():
        client.put_object(Bucket="models", Key=f"mine/{name}", Body=body)
    _look(folder, **served_s3.environment)
    first = _identity(folder)
    assert first.keys() == {"config.json", "model.safetensors"}
    client.put_object(Bucket="models", Key="mine/model.safetensors", Body=b"2")
    assert _look(folder, **served_s3.environment).stderr == "inputs: model.source changed\n"
    assert _identity(folder)["config.json"] == first["config.json"]

    recorded = (folder / paths.INPUTS).read_text()
    away = served_s3.environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}  # nothing listens there
    assert "taken as unchanged: s3://models/mine could not be listed: " in _look(folder, **away).stderr
    assert (folder / paths.INPUTS).read_text() == recorded
    assert not [secret for secret in served_s3.environment.values() if secret in recorded]


@pytest.mark.timeout(400)
def test_an_alias_that_is_moved_and_a_registry_that_is_away(tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = _project(tmp_path / "project", "models:/small@candidate")
    with mlflow_server.running(tmp_path / "mlflow") as server:
        client = server.client()
        client.create_registered_model("small")
        for version in ("1", "2"):
            run = client.create_run("0")
            client.create_model_version("small", run.info.artifact_uri, run.info.run_id)
            client.set_registered_model_alias("small", "candidate", version)
            assert "model.source" in _look_with(server, folder).stderr
            identity = _identity(folder)
            assert (identity["version"], identity["run_id"]) == (version, run.info.run_id)
        assert _look_with(server, folder).stderr.endswith("unchanged\n")
        server.stop()
        kept = _look_with(server, folder)
    assert kept.returncode == 0
    assert "taken as unchanged: models:/small@candidate could not be looked up: " in kept.stderr
    assert _identity(folder) == identity


def _look_with(server: mlflow_server.Server, folder: Path) -> Any:
    """`project.run` takes MLflow's variables away: the copy has a store of its own."""
    code = f"import os; os.environ.update({server.environment!r}); from stages.inputs import main; main()"
    return project.run(folder, "-c", code)
