"""Switch a command to the Python environment that its runtime is installed in.

vLLM and onnxruntime's CUDA build pin other versions than this project does (torch 2.11; no onnxruntime beside
onnxruntime-gpu), so `make setup-gpu` gives them an environment of their own beside the code. A command that needs
them starts where every command starts, and continues there under the same process id.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from core.progress import say

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A Python environment beside the code: its folder and the lock that it is made from, relative to the root."""

    folder: str
    lock: str


GPU = Environment(".venv-gpu", "requirements-gpu.lock")


def switch_interpreter(environment: Environment) -> None:
    """Replace this process by the same command under `environment`'s interpreter.

    Does nothing where it already runs there, or where there is no such environment: in an image that holds everything
    in one, and on a machine without a GPU, where the runtime then says what is missing.
    """
    folder = ROOT / environment.folder
    python = folder / "bin/python"
    if not python.exists() or Path(sys.prefix).resolve() == folder.resolve():
        return
    say(f"switching to the interpreter of {folder.name}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(python, [str(python), *sys.orig_argv[1:]])
