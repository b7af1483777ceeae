"""The parent's handle on one worker process: start it, ask it, pause it while another side works, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

import psutil

from core import files
from core.errors import RuntimeFault

# At least; more for large models, at rates that are slower than any machine worth measuring on.
LOAD_DEADLINE_S = 900.0
LOAD_BYTES_PER_S = 10e6  # 15 GB have 25 minutes: a GPU's engine compiles kernels besides
ANSWER_DEADLINE_S = 900.0
PASS_BYTES_PER_S = 1e9  # of the weights, all of which are read for each token
LAST_LINES = 8


class OutOfMemory(RuntimeFault):
    """A worker could not get memory, or the kernel killed it: a smaller batch may work."""


@dataclass(frozen=True)
class Spec:
    """What to measure: `module` has `load(folder, threads, **options) -> Runtime`."""

    name: str
    module: str
    folder: str
    threads: int
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, module: ModuleType, folder: Path, threads: int, /, **options: str) -> Spec:
        """For a module that is at hand, such as a runtime's plugin."""
        return cls(name, module.__name__, str(folder.resolve()), threads, options)


@dataclass(frozen=True)
class Sample:
    """One timed request: seconds from its start to each token of the batch, and to the whole answer."""

    batch: int
    prompt_tokens: int  # of the whole batch, without padding
    stamps_s: tuple[float, ...]
    wall_s: float


class Side:
    """One loaded model in its own process. Outside `generate` the process is stopped (SIGSTOP).

    An idle runtime's threads spin for a while after each call before they sleep; on few cores that would be time
    stolen from the other side. A stopped process takes none, whatever its runtime does.
    """

    def __init__(self, spec: Spec) -> None:
        """Start the worker and wait until its model is loaded; raises RuntimeFault when that fails."""
        self.spec, self._bytes = spec, files.folder_bytes(Path(spec.folder))
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.measure.worker", json.dumps(asdict(spec))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=Path(__file__).parents[2],
            env=_environment(spec.threads),
        )
        try:
            loaded = self._answer(max(LOAD_DEADLINE_S, self._bytes / LOAD_BYTES_PER_S))
        except BaseException:
            self.close()
            raise
        self.load_ms: float = loaded["load_ms"]
        self.peak_rss_mib: float = loaded["peak_rss_mib"]
        self._pause()

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Sample:
        """Exactly `max_tokens` new tokens for every prompt, as one batch, timed inside the worker."""
        assert self._process.stdin is not None
        request = json.dumps({"prompts": [list(prompt) for prompt in prompts], "max_tokens": max_tokens}) + "\n"
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._raise_dead()
        passes = max_tokens + max(map(len, prompts))
        answer = self._answer(max(ANSWER_DEADLINE_S, passes * self._bytes / PASS_BYTES_PER_S))
        self._pause()
        self.peak_rss_mib = max(self.peak_rss_mib, answer["peak_rss_mib"])
        return Sample(len(prompts), sum(map(len, prompts)), tuple(answer["stamps_s"]), answer["wall_s"])

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def finish(self, deadline_s: float = 60.0) -> None:
        """Let the worker close its runtime and end by itself; killed when that takes longer."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # close() below is the answer
            self._process.wait(deadline_s)
        self.close()

    def close(self) -> None:
        """End the process and those that it started. Calling it twice is fine."""
        started = self._started()
        self._process.kill()
        self._process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # an unsent request to a worker that is already dead

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> list[psutil.Process]:
        """The worker's own processes: vLLM's engine is one, and would keep GPU memory once the worker is killed."""
        if self._process.poll() is not None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def _pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def _answer(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], deadline_s)
        if not ready:
            raise RuntimeFault(f"{self.spec.name}: no answer in {deadline_s:.0f} s. {self._last_lines()}")
        line = self._process.stdout.readline()
        if not line:
            self._raise_dead()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._process.wait()
            kind = OutOfMemory if answer["out_of_memory"] else RuntimeFault
            raise kind(f"{self.spec.name} ({self.spec.module}) failed: {answer['error']}. {self._last_lines()}")
        return answer

    def _raise_dead(self) -> None:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise OutOfMemory(f"{self.spec.name}: killed, most likely by the kernel for memory. {self._last_lines()}")
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise RuntimeFault(f"{self.spec.name} ({self.spec.module}) {how}. {self._last_lines()}")

    def _last_lines(self) -> str:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip(" ^~")][-LAST_LINES:]
        return "Its last lines: " + " | ".join(lines) if lines else "It printed nothing."


def _environment(threads: int) -> dict[str, str]:
    """A user's environment: without the waiting policy that core.cli sets for our own commands."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    return kept | {"OMP_NUM_THREADS": str(threads)}
