"""What the documents tell people to type exists, and takes the options shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OURS = ("benchmarks", "ci", "drift", "pipelines", "rollout", "stages")
PLACES = [
    *(
        ROOT / name
        for name in ("README.md", "serving/README.md", "models/reference/README.md", "dvc.yaml", "MLproject")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "ci").glob("*.yml")),
    ROOT / ".gitlab-ci.yml",
]
TEXT = "\n".join(path.read_text() for path in PLACES)
COMMANDS = sorted(
    {
        (found["module"], tuple(re.findall(r"(?<![\w-])--[a-z][a-z-]*", found["rest"].split("#")[0])))
        for found in re.finditer(r"python -m (?P<module>[a-z_]+(?:\.[a-z_]+)+)(?P<rest>[^`|\n]*)", TEXT)
        if found["module"].split(".")[0] in OURS and "{" not in found["module"]
    }
)


@cache
def _help(module: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"python -m {module} --help: {done.stderr[-500:]}"
    return done.stdout


@pytest.mark.parametrize("module", sorted({module for module, _ in COMMANDS if not module.startswith("stages.")}))
def test_documented_command_takes_the_documented_options(module: str) -> None:
    wanted = {option for name, options in COMMANDS if name == module for option in options}
    missing = sorted(option for option in wanted if not re.search(rf"{option}\b(?!-)", _help(module)))
    assert not missing, f"python -m {module} does not take {', '.join(missing)}"


def test_documented_stages_are_files() -> None:
    named = {module.split(".")[1] for module, _ in COMMANDS if module.startswith("stages.")}
    assert named == {path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__"}


def test_documented_targets_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4}|- )make ([a-z-]+)", TEXT, re.MULTILINE))
    assert named, "no document names a target"
    assert named <= targets


def test_documented_params_exist() -> None:
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    named = re.findall(r"-S ([\w.-]+)=", TEXT)
    assert named, "no document shows how to change a param"
    for key in named:
        value: Any = params
        for part in key.split("."):
            assert part in value, f"-S {key}: params.yaml has no {part}"
            value = value[part]


def test_a_path_that_hydra_reads_otherwise_is_taken_as_documented(tmp_path: Path) -> None:
    """`dvc exp run -S` gives each value to Hydra's parser, to which a comma is a list of runs."""
    shown = re.search(r"""dvc exp run -S "(model\.source='([^'"]*,[^'"]*)')\"""", (ROOT / "README.md").read_text())
    assert shown
    steps = [["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]]
    stage = {"cmd": "cp params.yaml seen.yaml", "params": ["model"], "outs": ["seen.yaml"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stage}}))
    (tmp_path / "params.yaml").write_text("model: {source: models/reference}")
    own = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    steps += [["git", "add", "--all"], [*own, "commit", "--quiet", "--message", "test"]]
    for step in steps:
        subprocess.run(step, cwd=tmp_path, check=True)
    for override, code in ((f"model.source={shown[2]}", 255), (shown[1], 0)):
        run = [sys.executable, "-m", "dvc", "exp", "run", "-S", override]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
    assert yaml.safe_load((tmp_path / "seen.yaml").read_text()) == {"model": {"source": shown[2]}}


def test_a_server_is_shown_with_all_that_it_needs() -> None:
    shown = [options for module, options in COMMANDS if module == "pipelines.serve" and "--folder" in options]
    assert shown
    assert all({"--folder", "--slot", "--port"} <= set(options) for options in shown)
