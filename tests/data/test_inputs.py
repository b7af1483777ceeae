"""What is recorded of model and suites, what is kept of it when one is out of reach, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import paths
from core.errors import DataError, SourceError
from data import inputs
from data.params import DataParams
from models.params import ModelParams


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelParams:
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return ModelParams(source=str(tmp_path / "model"))


@pytest.fixture
def data(tmp_path: Path) -> DataParams:
    (tmp_path / "mine.jsonl").write_text("{}\n")
    suites = {
        "built-in": {"kind": "problems"},
        "mine": {"kind": "jsonl", "options": {"path": str(tmp_path / "mine.jsonl")}},
    }
    return DataParams.model_validate(
        {"train_items": 100, "evaluation_items": 60, "benchmark_items": 4, "suites": suites}
    )


def _other_model(model: ModelParams, **changes: str) -> ModelParams:
    return model.model_copy(update=changes)


def test_model_and_suites_that_read_files_are_recorded(model: ModelParams, data: DataParams) -> None:
    found = inputs.look(model, data)
    assert list(found.by_key) == ["model.source", "data.suites.mine"]
    assert list(found.by_key["model.source"].identity) == ["config.json"]
    assert inputs.changed(None, found) == ["data.suites.mine", "model.source"]
    assert inputs.changed(found, inputs.look(model, data, found)) == []


def test_what_is_out_of_reach_is_taken_as_recorded_and_said(
    model: ModelParams, data: DataParams, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = inputs.look(model, data)
    (tmp_path / "mine.jsonl").write_text("[]\n")
    (tmp_path / "model").rename(tmp_path / "unmounted")
    now = inputs.look(model, data, recorded)
    assert inputs.changed(recorded, now) == ["data.suites.mine"], "what can be looked at is"
    assert "warning: model.source could not be looked at and is taken as unchanged: " in capsys.readouterr().err
    with pytest.raises(SourceError, match="is neither a folder here"):
        inputs.look(model, data)


def test_a_record_of_something_else_does_not_count(model: ModelParams, data: DataParams, tmp_path: Path) -> None:
    recorded = inputs.look(model, data)
    with pytest.raises(SourceError, match="nowhere"):
        inputs.look(_other_model(model, source=str(tmp_path / "nowhere")), data, recorded)
    (tmp_path / "mine.jsonl").unlink()
    inputs.look(model, data, recorded)
    other = {"mine": data.suites["mine"].model_copy(update={"options": {"path": str(tmp_path / "theirs.jsonl")}})}
    with pytest.raises(DataError, match=r"theirs\.jsonl cannot be read"):
        inputs.look(model, data.model_copy(update={"suites": other}), recorded)


def test_a_trusted_record_is_not_looked_at(model: ModelParams, data: DataParams, tmp_path: Path) -> None:
    recorded = inputs.look(model, data)
    (tmp_path / "model" / "config.json").write_text("[]")
    assert inputs.look(model, data, recorded, trust=True) == recorded
    elsewhere = _other_model(model, source="someone/model", revision="c3" * 20)
    found = inputs.look(elsewhere, data, recorded, trust=True).by_key["model.source"]
    assert (found.asked, found.identity) == (f"someone/model at {'c3' * 20}", {"revision": "c3" * 20})
