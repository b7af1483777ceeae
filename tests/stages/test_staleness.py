"""What an edit makes stale: nothing that it does not decide. Asked of DVC itself, in a copy of the project."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import project

# What moves versions and answers users, but decides no result of a stage.
AFTERWARDS = ("approval", "ci", "demo", "deploy", "docs", "gateway", "pipelines", "rehearsal", "rollout", "serving")


def _dvc(folder: Path, *arguments: str) -> str:
    return project.run(folder, "-m", "dvc", *arguments, check=True).stdout


def _stale(folder: Path) -> set[str]:
    """Stages that `dvc repro` would run: not `inputs`, which always runs, nor those that only follow from another."""
    return set(json.loads(_dvc(folder, "status", "--json"))) - {"inputs"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every stage has run, as far as DVC knows: each output is a small file."""
    folder = project.copy(tmp_path_factory.mktemp("project"))
    for name in ("model/config.json", "model/model.safetensors", "tasks/mine.yaml", "mine.jsonl"):
        (folder / "outside" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "outside" / name).write_text("{}")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["model"]["source"] = "outside/model"
    params["data"]["suites"] |= {
        "lines": {"kind": "jsonl", "options": {"path": "outside/mine.jsonl"}},
        "tasks": {"kind": "lm_eval", "options": {"tasks": ["mine"], "include_path": "outside/tasks"}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    _dvc(folder, "repro", "--quiet", "inputs")
    for path in _made(folder):
        if path.name == "inputs.json":
            continue
        inner = path if path.suffix else path / "file"
        inner.parent.mkdir(parents=True, exist_ok=True)
        inner.write_text(path.name)
    _dvc(folder, "commit", "--force")
    return folder


def _made(folder: Path) -> Iterator[Path]:
    """Every path that a stage writes or reads of another."""
    recipes = yaml.safe_load((folder / "params.yaml").read_text())["recipes"]
    for stage in yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].values():
        body = stage.get("do", stage)
        for entry in (*body["outs"], *body.get("deps", ())):
            name = entry if isinstance(entry, str) else next(iter(entry))
            if name.startswith(("artifacts/", "reports/")):
                for recipe in recipes if "foreach" in stage else [""]:
                    yield folder / name.replace("${key}", recipe).replace("${item}", recipe)


@pytest.fixture
def edited(done: Path) -> Iterator[Path]:
    """`done`, put back as it was after the test."""
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file() and ".dvc" not in path.parts}
    yield done
    for path in [path for path in done.rglob("*") if path.is_file() and ".dvc" not in path.parts]:
        if path not in before:
            path.unlink()
        elif path.read_bytes() != before[path]:
            path.write_bytes(before[path])


def _edit(path: Path) -> None:
    path.write_text(path.read_text() + "\n# edited\n")


def _moved(value: Any) -> Any:
    """Every value below `value`, changed."""
    if isinstance(value, dict):
        return {key: _moved(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(_moved, value), "more"]
    return f"{value}x" if isinstance(value, str) or value is None else value + 1


def test_what_comes_after_the_evidence_makes_none_of_it_stale(edited: Path) -> None:
    files = [path for room in AFTERWARDS for path in (edited / room).rglob("*") if path.is_file()]
    assert {path.relative_to(edited).parts[0] for path in files} == set(AFTERWARDS)
    for path in files:
        _edit(path)
    params = yaml.safe_load((edited / "params.yaml").read_text())
    for section in ("rollout", "ci"):
        params[section] = _moved(params[section])
    (edited / "params.yaml").write_text(yaml.safe_dump(params))
    assert not _stale(edited)
    assert re.findall("Running stage '(.+)'", _dvc(edited, "repro", "--dry")) == ["inputs"]


def test_what_decides_a_result_makes_it_stale(edited: Path) -> None:
    recipes = set(yaml.safe_load((edited / "params.yaml").read_text())["recipes"])
    _edit(edited / "drift" / "sequential.py")
    assert _stale(edited) == {"confirm", *(f"evaluate@{name}" for name in recipes)}


def test_a_gate_makes_the_verdict_stale_and_no_version(edited: Path) -> None:
    params = yaml.safe_load((edited / "params.yaml").read_text())
    params["recipes"]["int8-static"]["margin_points"] = 2.5
    (edited / "params.yaml").write_text(yaml.safe_dump(params))
    assert _stale(edited) == {"evaluate@int8-static", "confirm", "select", "report", "register"}


def test_a_plugin_is_the_business_of_the_recipes_that_name_it(edited: Path) -> None:
    _edit(edited / "quantizers" / "half.py")
    shutil.copy(edited / "quantizers" / "none.py", edited / "quantizers" / "another.py")
    shutil.copy(edited / "runtimes" / "ort.py", edited / "runtimes" / "another.py")
    # A registered version travels with the code of the runtimes, which judges nothing.
    # Whichever recipe wins is confirmed on its runtime.
    assert _stale(edited) == {"quantize@fp16", "compile@fp16", "confirm", "register"}
    params = yaml.safe_load((edited / "params.yaml").read_text())
    params["recipes"]["new"] = {"quantizer": "another", "runtime": "another", "options": {}}
    (edited / "params.yaml").write_text(yaml.safe_dump(params))
    own = {f"{stage}@new" for stage in ("quantize", "compile", "evaluate", "benchmark")}
    assert _stale(edited) == own | {"quantize@fp16", "compile@fp16", "confirm", "select", "report", "register"}


def test_ci_finds_a_stale_lock_in_a_fresh_clone(done: Path, tmp_path: Path) -> None:
    """Without data, and without a word about `inputs`, which runs every time."""
    clone = Path(
        shutil.copytree(done, tmp_path / "clone", ignore=shutil.ignore_patterns("artifacts", "reports", "cache"))
    )
    status = "import subprocess, sys; sys.exit(subprocess.call(['bash', 'ci/dvc-status']))"
    assert project.run(clone, "-c", status, check=True).stdout == "dvc.lock is current\n"
    _edit(clone / "data" / "splits.py")
    stale = project.run(clone, "-c", status)
    assert stale.returncode == 1
    assert stale.stdout.startswith("ERROR: failed to reproduce 'prepare': ")
    assert "dvc.lock is stale: run 'make repro'" in stale.stderr


def test_what_lies_outside_and_is_edited_under_its_name_makes_all_stale(edited: Path) -> None:
    for file in (edited / "outside").rglob("*"):
        file.touch()
    _dvc(edited, "repro", "inputs")
    assert not _stale(edited), "touched, and as it was"
    keys = {"model/model.safetensors": "model.source", "tasks/mine.yaml": "data.suites.tasks"}
    for name, key in (keys | {"mine.jsonl": "data.suites.lines"}).items():
        (edited / "outside" / name).write_text("[]")  # of the same size
        assert project.run(edited, "-m", "stages.inputs", check=True).stderr == f"inputs: {key} changed\n"
    assert _stale(edited) == {"prepare"}
