"""What an edit makes stale, asked of DVC itself in a copy of the project whose stages have all run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests")
# Nothing in these decides what a version is or how it was judged.
OPERATING = ("ci", "demo", "deploy", "gateway", "pipelines", "rehearsal", "rollout", "serving")
NEVER = shutil.ignore_patterns("__pycache__", "node_modules")


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code with a dvc.lock that says that all of it has run; every output is one line."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("settled")
    for room in {*ROOMS, *OPERATING}:
        shutil.copytree(ROOT / room, folder / room, ignore=NEVER)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    repo = Repo.init(str(folder), no_scm=True)
    outputs = {Path(out.fs_path) for stage in repo.index.stages for out in stage.outs}
    inputs = {Path(dep.fs_path) for stage in repo.index.stages for dep in stage.deps if hasattr(dep, "fs_path")}
    for path in outputs | inputs:
        if path.exists() or any(path in other.parents for other in outputs | inputs):
            continue
        file = path if path.suffix else path / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{path.name}\n")
    with contextlib.chdir(folder):
        repo.commit(force=True)
    repo.close()
    return folder


@pytest.fixture
def project(settled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(settled, tmp_path / "project"))


def _stale(project: Path) -> set[str]:
    """The stages that DVC would run because of what was edited, without those that come after them."""
    from dvc.repo import Repo

    with contextlib.chdir(project), Repo() as repo:
        return set(repo.status())


def _params(project: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = project / "params.yaml"
    found = yaml.safe_load(path.read_text())
    change(found)
    path.write_text(yaml.safe_dump(found, sort_keys=False))


def _branches(recipe: str) -> set[str]:
    return {f"{stage}@{recipe}" for stage in ("quantize", "compile", "evaluate", "benchmark")}


def test_a_new_quantizer_makes_nothing_stale_and_its_recipe_only_its_own_branch(project: Path) -> None:
    assert _stale(project) == set()
    shutil.copy(project / "quantizers" / "none.py", project / "quantizers" / "zzz.py")
    assert _stale(project) == set()
    _params(project, lambda found: found["recipes"].update(toy={"quantizer": "zzz", "runtime": "ort"}))
    assert _stale(project) == _branches("toy") | {"select", "report", "register"}


def test_an_edited_quantizer_makes_only_its_own_recipes_stale(project: Path) -> None:
    with (project / "quantizers" / "gptq.py").open("a") as file:
        file.write("# edited\n")
    recipes = ("w8a8-int8", "w4a16-int4")
    assert _stale(project) == {f"{stage}@{recipe}" for stage in ("quantize", "compile") for recipe in recipes}


@pytest.mark.parametrize("section", ["rollout", "ci"])
def test_operating_params_make_nothing_stale(project: Path, section: str) -> None:
    _params(project, lambda found: found.update({section: {"edited": True}}))
    assert _stale(project) == set()


def test_operating_code_makes_nothing_stale(project: Path) -> None:
    edited = [path for room in OPERATING for path in (project / room).rglob("*") if path.is_file()]
    for path in edited:
        with path.open("ab") as file:
            file.write(b"\n")
    assert _stale(project) == set()
