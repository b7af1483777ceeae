"""Ends daemons when their owner ends, however it ends: `with caretaker.of(tags): ...` leaves no process behind.

A small process waits for the owner's end of a pipe to close. That is the kernel's doing, so it also happens at
SIGKILL, where no handler of the owner runs. A controller that is to be replaced must not own its daemons this way;
a demo, a benchmark or a test should.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from host import daemon

GRACE_S = 2.0
QUIET_S = 1.0  # so long without a process: nobody who outlived the owner starts one any more


@contextmanager
def of(tags: Sequence[str]) -> Iterator[None]:
    """Everything that runs under `tags` ends with this block, or with this process."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "rehearsal.caretaker", *tags]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd=root)
    assert keeper.stdin is not None
    try:
        yield
    finally:
        keeper.stdin.close()
        keeper.wait()


def end_all(tags: Sequence[str]) -> None:
    """SIGTERM, then SIGKILL after `GRACE_S`, until none has been there for `QUIET_S`."""
    quiet_since_s = time.monotonic()
    while time.monotonic() - quiet_since_s < QUIET_S:
        found = daemon.find_all(tags)
        for process in found:
            process.end(GRACE_S)
        if found:
            quiet_since_s = time.monotonic()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.read()
    end_all(sys.argv[1:])
