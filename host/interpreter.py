"""Go on in the Python environment that a command needs.

vLLM and onnxruntime's CUDA build pin other versions than this project does (torch 2.11; no onnxruntime beside
onnxruntime-gpu), so `make setup-gpu` gives them an environment of their own beside the code. A command that needs
them starts where every command starts, and goes on there under the same process id.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.progress import say

GPU = Path(__file__).parents[1] / ".venv-gpu"


def go_on_in(environment: Path) -> None:
    """Replace this process by the same command under `environment`'s interpreter.

    Does nothing where it runs there already, or where there is no such environment: in an image that holds everything
    in one, and on a machine without a GPU, where the runtime then says what is missing.
    """
    python = environment / "bin/python"
    if not python.exists() or Path(sys.prefix).resolve() == environment.resolve():
        return
    say(f"going on in {environment.name}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(python, [str(python), *sys.orig_argv[1:]])
