"""`make demo` with nobody there, with a click, and ended at any moment: on echo versions, everything else is real."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import DataError
from demo import scenario, versions
from host import daemon
from rollout.states import State
from tests.rollout.stage import ROOT

LINE_S = 150.0
GONE_S = 30.0


@dataclass
class Demo:
    """A running demo; `lines` are what it wrote to stderr so far."""

    folder: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append(text.rstrip())

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline_s = time.monotonic() + LINE_S
        while not (found := re.search(pattern, "\n".join(self.lines))):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline_s, self.lines
            time.sleep(0.05)
        return found


@contextmanager
def _demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    heeding = ["env", "--default-signal=INT"]  # a background shell has it ignored
    demo = [sys.executable, "-m", "pipelines.demo", "--headless", "--echo", "--folder", str(folder), *arguments]
    process = subprocess.Popen(
        [*heeding, *demo], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    found = Demo(folder, process)
    reader = threading.Thread(target=found.read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        reader.join()


def _processes(folder: Path) -> list[int]:
    """Every process, whoever's child, that was started under a tag of this demo."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(pair.startswith(f"{daemon.TAG}=".encode()) and str(folder).encode() in pair for pair in environment):
            found.append(int(entry.name))
    return found


def _all_gone(folder: Path) -> None:
    deadline_s = time.monotonic() + GONE_S
    while left := _processes(folder):
        assert time.monotonic() < deadline_s, left
        time.sleep(0.1)


def test_nobody_is_needed_and_nothing_is_lost(tmp_path: Path) -> None:
    with _demo(tmp_path, "--auto") as demo:
        assert demo.process.stdout is not None
        out = demo.process.stdout.read()
        demo.process.wait()
    assert demo.process.returncode == 0, demo.lines
    [line] = out.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["requests"] > 500
    assert found["lost"] == 0
    assert [(one["version"], one["state"]) for one in found["rollouts"]] == [(2, "Succeeded"), (3, "RolledBack")]
    assert "empty_rate" in found["rollouts"][1]["why"]
    assert found["rolled_back"] == [3]
    assert found["chain_ok"] is True
    assert _processes(tmp_path) == []


def test_killed_after_a_click_it_leaves_no_process(tmp_path: Path) -> None:
    with _demo(tmp_path) as demo:
        url = demo.wait_for(r"open (http://\S+)/#/models/assay, choose version 2").group(1)
        assert not any("Verifying" in line for line in demo.lines), "it waits for the click"
        alias = {"name": "assay", "alias": "approved", "version": "2"}
        httpx.post(f"{url}/api/2.0/mlflow/registered-models/alias", json=alias, timeout=30).raise_for_status()
        demo.wait_for("StartingPreview")
        assert len(_processes(tmp_path)) >= 5, "MLflow, relay, Envoy, slot and pipeline"
        demo.process.send_signal(signal.SIGKILL)
        demo.process.wait()
    _all_gone(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts_it_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    with _demo(tmp_path, "--auto") as demo:
        deadline_s = time.monotonic() + LINE_S
        while len(_processes(tmp_path)) < 2:
            assert time.monotonic() < deadline_s, demo.lines
            time.sleep(0.02)
        demo.process.send_signal(number)
        assert demo.process.wait(GONE_S) == 128 + number
    assert _processes(tmp_path) == [], "it returns when all have ended"
    assert "Traceback" not in "\n".join(demo.lines)


def test_before_the_main_job_it_says_in_one_line_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"run `make repro` first"):
        versions.shipped(tmp_path, "assay")


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"lost": 1}, False),
        ({"requests": 0}, False),
        ({"chain_ok": False}, False),
        ({"rolled_back": []}, False),
        ({"rollouts": [{"version": 2, "state": State.ABORTED}]}, False),
    ],
)
def test_what_counts_as_promised(tmp_path: Path, changes: dict[str, Any], good: bool) -> None:
    entries = versions.echoes(tmp_path)
    figures: dict[str, Any] = {"requests": 9, "lost": 0, "rolled_back": [3], "chain_ok": True}
    figures["rollouts"] = [{"version": 2, "state": State.SUCCEEDED}, {"version": 3, "state": State.ROLLED_BACK}]
    assert scenario.holds(figures | changes, entries[1], entries[2]) is good
