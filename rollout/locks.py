"""Locks between processes of one machine. The kernel frees the lock of a process that is killed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.record import RolloutRecord


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Take the lock without waiting, and yield whether that worked; released at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def controller(record: RolloutRecord, environment: str) -> Path:
    """The lock of the process that runs the environment's rollout."""
    return Path(f"{record.path}.{environment}.lock")


def controller_runs(record: RolloutRecord, environment: str) -> bool:
    """Whether a living process runs the environment's rollout."""
    with try_lock(controller(record, environment)) as free:
        return not free
