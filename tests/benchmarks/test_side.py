from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.measure.side import OutOfMemory, Side
from core import files
from core.errors import RuntimeFault
from tests.benchmarks import fake

ROOT = Path(__file__).parents[2]


def test_times_every_token_and_survives_what_libraries_print() -> None:
    with Side(fake.spec()) as side:
        sample = side.generate([[1, 2, 3], [4, 5]], 8)
    assert (sample.batch, sample.prompt_tokens, len(sample.stamps_s)) == (2, 5, 8)
    assert list(sample.stamps_s) == sorted(sample.stamps_s)
    assert 0.008 <= sample.stamps_s[-1] <= sample.wall_s < 1
    assert side.load_ms > 0
    assert 10 < side.peak_rss_mib < 150  # the worker's own, and it loaded no model


def test_a_large_model_has_longer_to_load_and_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    limits_s: list[float] = []
    answer = Side._answer

    def record(side: Side, deadline_s: float) -> dict[str, Any]:
        limits_s.append(deadline_s)
        return answer(side, deadline_s)

    monkeypatch.setattr(Side, "_answer", record)
    for size in (28 * 2**20, 15 * 10**9):
        monkeypatch.setattr(files, "folder_bytes", lambda folder, size=size: size)
        with Side(fake.spec()) as side:
            side.generate([[1] * 128, [1]], 64)
    assert limits_s == [900, 900, 1500, 192 * 15]


def test_an_idle_side_is_stopped_and_takes_no_cpu() -> None:
    with Side(fake.spec()) as side:
        process = psutil.Process(side.pid)
        for _ in range(2):
            side.generate([[1]], 2)
            _until(lambda: process.status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        ("raise", RuntimeFault, r"ValueError: bad node.*the kernel said no"),
        ("segfault", RuntimeFault, r"died of SIGSEGV.*memory that is not mine"),
        ("short", RuntimeFault, r"broke the runtime contract"),
        ("killed", OutOfMemory, r"killed, most likely by the kernel for memory"),
    ],
)
def test_a_failing_worker_is_a_clear_error(behaviour: str, kind: type[RuntimeFault], said: str) -> None:
    with Side(fake.spec(behaviour, name="int4")) as side:
        with pytest.raises(RuntimeFault, match=said) as caught:
            side.generate([[1]], 4)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("int4")


def test_a_model_that_does_not_load_is_a_clear_error() -> None:
    with pytest.raises(RuntimeFault, match=r"IntegrityError: model\.onnx changed"):
        Side(fake.spec("broken-files"))


def test_an_idle_worker_killed_from_outside_is_noticed() -> None:
    with Side(fake.spec()) as side:
        os.kill(side.pid, signal.SIGKILL)
        _until(lambda: psutil.Process(side.pid).status() == psutil.STATUS_ZOMBIE)
        with pytest.raises(OutOfMemory):
            side.generate([[1]], 2)


def test_what_a_worker_started_ends_with_it() -> None:
    with Side(fake.spec("engine")) as side:
        [engine] = psutil.Process(side.pid).children()
    side.close()
    _until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_a_stopped_worker_dies_with_its_parent() -> None:
    script = (
        "import os, signal\n"
        "from benchmarks.measure.side import Side\n"
        "from tests.benchmarks import fake\n"
        "side = Side(fake.spec())\n"
        "print(side.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker = int(done.stdout)
    _until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


def _until(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
