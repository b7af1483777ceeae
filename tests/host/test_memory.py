"""What memory this process may take, and what it has taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from host import memory

ROOT = Path(__file__).parents[2]
SAY = "from host.memory import peak_rss_mib; print(peak_rss_mib())"
BALLAST = "ballast = bytearray(300 * 2**20); ballast[::4096] = b'x' * len(ballast[::4096])"  # every page touched


def test_available_memory_is_the_machines_or_less() -> None:
    assert 0 < memory.available_memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(("limit", "expected_mib"), [("max", None), (str(300 * 2**20), 300 - 200 + 50)])
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected_mib: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{200 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {50 * 2**20}\n")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    machine = int(psutil.virtual_memory().total)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=machine))
    assert memory.available_memory_bytes() == (machine if expected_mib is None else expected_mib * 2**20)


def _peak_mib(script: str) -> float:
    return float(subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout)


def test_what_was_freed_again_counts() -> None:
    assert 300 < _peak_mib(f"{BALLAST}; del ballast; {SAY}") < 400


def test_a_child_does_not_show_what_its_parent_takes() -> None:
    """`ru_maxrss` would: it is kept over fork and exec."""
    child = f"import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {SAY!r}], text=True))"
    assert _peak_mib(f"{BALLAST}; {child}") < 150


def test_a_command_that_goes_on_in_another_interpreter_starts_anew() -> None:
    """As `host.interpreter` does it: another program, the same process."""
    goes_on = f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', {SAY!r}])"
    assert _peak_mib(f"{BALLAST}; {goes_on}") < 150
