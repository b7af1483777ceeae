"""dvc.yaml says what the code does: every file that a stage imports is one of its dependencies."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from pipelines import params

ROOT = Path(__file__).parents[2]
ROOMS = ("bench", "core", "data", "drift", "models", "report", "stages")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def _body(name: str) -> dict[str, list[str]]:
    stage = STAGES[name]
    body: dict[str, list[str]] = stage.get("do", stage)
    return body


def _imports(file: Path) -> set[Path]:
    """Files of the project that `file` imports directly, anywhere in it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in ROOMS:
                path = ROOT.joinpath(*name.split("."))
                found |= {one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()}
    return found


def _reached(start: Path) -> set[Path]:
    reached, todo = set(), [start]
    while todo:
        file = todo.pop()
        if file not in reached:
            reached.add(file)
            todo.extend(_imports(file))
    return reached


@pytest.mark.parametrize("name", list(STAGES))
def test_imports_are_dependencies(name: str) -> None:
    listed = [ROOT / path for path in _body(name)["deps"] if "${" not in path and not path.startswith("artifacts")]
    missing = sorted(
        str(file.relative_to(ROOT))
        for file in _reached(ROOT / "stages" / f"{name}.py")
        if file.name != "__init__.py" and not any(file == path or path in file.parents for path in listed)
    )
    assert not missing, f"dvc.yaml: {name} imports {', '.join(missing)} but does not list it in deps"


@pytest.mark.parametrize("name", list(STAGES))
def test_dependencies_and_commands_exist(name: str) -> None:
    body = _body(name)
    for path in (path for path in body["deps"] if "${" not in path):
        assert path.startswith("artifacts/") or path.startswith("reports/") or (ROOT / path).exists(), path
    assert str(body["cmd"]).startswith(f"python -m stages.{name}")
    assert (ROOT / "stages" / f"{name}.py").is_file()


def test_every_stage_file_is_in_the_graph() -> None:
    assert {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(STAGES)


def test_shipped_params_load() -> None:
    assert set(params.load(ROOT / "params.yaml").recipes) >= {
        "fp32",
        "fp16",
        "int8-weight",
        "int4-weight",
        "int8-static",
    }


def test_params_that_stages_name_exist() -> None:
    known = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in STAGES:
        for key in _body(name).get("params", []):
            assert key.split(".")[0] in known, f"{name}: {key}"
