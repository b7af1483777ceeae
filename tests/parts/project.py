"""A copy of the project, as after a clone: for tests that run its commands or edit its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("tests/", ".dvc/", "dvc.lock", "models/reference/model.safetensors")


def listed() -> list[str]:
    """Every file of the project, by git: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def copy(folder: Path) -> Path:
    """The project in `folder` without tests, DVC's state and the model's weights; DVC set up there without git."""
    for name in listed():
        if not name.startswith(LEFT_OUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, "-m", "dvc", "init", "--no-scm", "--quiet", check=True)
    return folder


def run(folder: Path, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """`python` with these arguments in that copy, with its own code and no MLflow but its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
