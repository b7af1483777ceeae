"""dvc.yaml says what the code does: the files that a stage imports are its dependencies, and no other code is.

Code that is imported but not listed could change without a stage being run again; code that is listed but not
imported makes results stale that are not. A stage that runs every time needs neither dependencies nor params.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import plugins

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DECIDED = [name for name, stage in STAGES.items() if not stage.get("always_changed")]  # by code, params and data
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
RECIPES: dict[str, dict[str, Any]] = PARAMS["recipes"]
# Plugins that code reached by a stage could load, and that cannot change the stage's result.
NOT_RUN = {
    "prepare": {"quantizers": "their costs can refuse a model, not change it"},
    "export": {"runtimes": "torch is imported by its name, no other is asked for"},
    "quantize": {"runtimes": "as for export"},
}
# Code that is not imported but started by its name, in a process of its own or by MLflow.
BY_NAME = {"benchmark": ("benchmarks/measure/worker.py",), "register": ("registry/pyfunc.py",)}
# Stages that read a plugin's constants only: its own file counts, what it imports does not.
CONSTANTS_ONLY = {"compile": "quantizers"}


def _body(name: str) -> dict[str, Any]:
    body: dict[str, Any] = STAGES[name].get("do", STAGES[name])
    return body


def _branches(name: str) -> list[dict[str, Any] | None]:
    """The recipe of each branch of a stage; one None for a stage that has no branches."""
    return list(RECIPES.values()) if "foreach" in STAGES[name] else [None]


def _listed(name: str, recipe: dict[str, Any] | None) -> list[Path]:
    """The code among a branch's dependencies: files and folders."""
    deps = [dep for dep in _body(name).get("deps", ()) if not dep.startswith(("artifacts/", "reports/"))]
    for key, value in (recipe or {}).items():
        deps = [dep.replace(f"${{item.{key}}}", str(value)) for dep in deps]
    return [ROOT / dep for dep in deps]


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` that runs: not what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _nodes(child)


@cache
def _imports(file: Path) -> frozenset[Path]:
    """Files of the project that `file` imports directly, anywhere in it."""
    found: set[Path] = set()
    for node in _nodes(_tree(file)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {ROOT.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)}
            found.add(ROOT.joinpath(*parts).with_suffix(".py"))
    return frozenset(path for path in found if path.is_file())


@cache
def _loads(file: Path) -> frozenset[str]:
    """Plugin folders that `file` loads from: `plugins.load("runtimes", ...)`."""
    return frozenset(
        str(ast.literal_eval(node.args[0]))
        for node in _nodes(_tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "plugins.load"
    )


def _plugins(name: str, package: str, recipe: dict[str, Any] | None) -> set[Path]:
    """The plugins that a branch may run: the one that its recipe names where the dependencies say so, else all."""
    kind = package.removesuffix("s")
    if f"{package}/${{item.{kind}}}.py" in _body(name)["deps"] and recipe:
        return {ROOT / package / f"{recipe[kind]}.py"}
    return {ROOT.joinpath(*package.split("."), f"{plugin}.py") for plugin in plugins.known(package)}


def _reached(name: str, recipe: dict[str, Any] | None) -> set[Path]:
    """The code that a branch runs; a package's `__init__` that holds no code is left out."""
    reached: set[Path] = set()
    todo = [ROOT / "stages" / f"{name}.py", *(ROOT / path for path in BY_NAME.get(name, ()))]
    while todo:
        file = todo.pop()
        if file in reached:
            continue
        reached.add(file)
        todo.extend(_imports(file))
        for package in _loads(file) - NOT_RUN.get(name, {}).keys():
            todo.append(ROOT.joinpath(*package.split("."), "__init__.py"))
            chosen = _plugins(name, package, recipe)
            if CONSTANTS_ONLY.get(name) == package:
                reached |= chosen
            else:
                todo.extend(chosen)
    return {file for file in reached if _holds_code(file)}


def _holds_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in _tree(file).body)


def _names(files: set[Path]) -> str:
    return ", ".join(sorted(str(file.relative_to(ROOT)) for file in files))


@pytest.mark.parametrize("name", DECIDED)
def test_imports_are_dependencies(name: str) -> None:
    for recipe in _branches(name):
        listed = _listed(name, recipe)
        missing = {
            file for file in _reached(name, recipe) if not any(path in (file, *file.parents) for path in listed)
        }
        assert not missing, f"dvc.yaml: {name} of {recipe} imports {_names(missing)} but does not list it in deps"


@pytest.mark.parametrize("name", DECIDED)
def test_dependencies_are_imported(name: str) -> None:
    reached: set[Path] = set().union(*(_reached(name, recipe) for recipe in _branches(name)))
    listed = {path for recipe in _branches(name) for path in _listed(name, recipe)}
    files = {file for path in listed for file in (path.rglob("*.py") if path.is_dir() else [path])}
    needless = {file for file in files if file.suffix == ".py" and _holds_code(file)} - reached
    assert not needless, f"dvc.yaml: {name} lists {_names(needless)} in deps but does not import it"


@pytest.mark.parametrize("name", list(NOT_RUN))
def test_what_is_said_not_to_run_could(name: str) -> None:
    loads = set().union(*(_loads(file) for file in _reached(name, None)))
    assert NOT_RUN[name].keys() <= loads, "an exception that is needed no more"


@pytest.mark.parametrize("name", list(STAGES))
def test_dependencies_and_commands_exist(name: str) -> None:
    body = _body(name)
    for recipe in _branches(name):
        assert all(path.exists() for path in _listed(name, recipe))
    assert str(body["cmd"]).startswith(f"python -m stages.{name}")
    assert (ROOT / "stages" / f"{name}.py").is_file()


def test_only_the_look_outside_runs_every_time() -> None:
    assert STAGES.keys() - set(DECIDED) == {"inputs"}
    assert not STAGES["inputs"].keys() & {"deps", "params"}


def test_every_stage_file_is_in_the_graph() -> None:
    assert {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(STAGES)


@pytest.mark.parametrize("name", DECIDED)
def test_params_are_those_that_the_stage_reads(name: str) -> None:
    """A stage's `Settings` are all that it can read; of `recipes`, a branch reads its own."""
    listed = {key.split(".")[0] for key in _body(name)["params"]}
    read = set(importlib.import_module(f"stages.{name}").Settings.model_fields)
    assert read - {"recipes"} == listed - {"recipes"}
    assert listed <= PARAMS.keys()
