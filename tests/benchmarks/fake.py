"""A runtime without a model, for what a real one cannot be asked to do: crash, be killed, run out of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure.side import Spec
from core.errors import IntegrityError
from runtimes import Generation, Logits, TokenIds

FOLDER = Path(__file__).parents[2] / "models" / "reference"  # some files: a side is given time by their bytes


def spec(behaviour: str = "plain", name: str = "fake") -> Spec:
    return Spec(name, __name__, str(FOLDER), 1, {"behaviour": behaviour})


def load(folder: Path, threads: int, behaviour: str = "plain") -> Fake:
    if behaviour == "broken-files":
        raise IntegrityError("model.onnx changed")
    if behaviour == "engine":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return Fake(behaviour)


class Fake:
    name = "fake"
    version = "1"

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        if self.behaviour == "raise":
            print("the kernel said no", file=sys.stderr)
            raise ValueError("bad node")
        if self.behaviour == "segfault":
            print("about to touch memory that is not mine", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "small-memory" and len(prompts) > 4:
            raise MemoryError(f"batch {len(prompts)}")
        print("a library that prints")
        for step in range(max_tokens):
            time.sleep(0.05 if self.behaviour == "slow" else 0.01 if self.behaviour == "half" else 0.001)
            if on_step:
                on_step(step)
        short = 1 if self.behaviour == "short" else 0
        return [Generation(tuple(range(max_tokens - short)), False) for _ in prompts]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        raise NotImplementedError("benchmarks only generate")

    def close(self) -> None:
        pass
