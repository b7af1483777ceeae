"""A command switches to another environment's interpreter: same arguments, same process, once."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import runtimes
from host import interpreter
from host.interpreter import Environment
from runtimes import vllm

ROOT = Path(__file__).parents[2]
COMMAND = """
import os, sys
from pathlib import Path
from host import interpreter
print(os.getpid(), Path(sys.prefix).name, *sys.argv[1:], flush=True)
interpreter.switch_interpreter(interpreter.Environment(sys.argv[1], "no.lock"))
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environments") / ".venv-other"
    venv.create(folder, symlinks=True, system_site_packages=True)
    # What the command imports, without installing it a second time.
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return folder


def _said(script: Path, *arguments: str) -> list[list[str]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment, check=True
    )
    return [line.split() for line in run.stdout.splitlines()]


def test_it_continues_there_once_with_its_arguments_and_its_process_id(other: Path, tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    first, second = _said(script, str(other), "--and", "more")
    assert (first[0], first[2:]) == (second[0], second[2:])
    assert (first[1], second[1]) == (Path(sys.prefix).name, ".venv-other")


def test_without_the_environment_it_stays(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    assert len(_said(script, str(tmp_path / "none"))) == 1


def test_a_runtime_says_where_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[Environment] = []
    monkeypatch.setattr(interpreter, "switch_interpreter", went.append)
    runtimes.switch_interpreter_for("ort")
    assert went == []
    runtimes.switch_interpreter_for("vllm")
    assert went == [vllm.TRAITS.environment] == [Environment(".venv-gpu", "requirements-gpu.lock")]
