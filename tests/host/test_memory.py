"""A process's peak memory is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAY = "from host.memory import peak_rss_mib; print(peak_rss_mib())"
BALLAST = "ballast = bytearray(300 * 2**20); ballast[::4096] = b'x' * len(ballast[::4096])"  # every page touched


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
