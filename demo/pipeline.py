"""Carries an approval out: each is a `python -m pipelines.promote` of its own, as in a CI job."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from core import daemon
from demo.place import Place


@dataclass
class Job:
    """One run. `approved_at` is UNIX time, in seconds."""

    number: int
    version: int
    approved_at: float
    process: daemon.Daemon

    @property
    def running(self) -> bool:
        return self.process.alive


@dataclass
class Runner:
    """Starts jobs, one at a time: the next one waits for the last one's end, as `resource_group` has it in GitLab."""

    where: Place
    jobs: list[Job] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def promote(self, version: int, options: Sequence[str] = ()) -> None:
        """Approve and roll out `version`; returns once the job has begun."""
        approved_at = time.time()
        with self._turn:
            while self.jobs and self.jobs[-1].running:
                time.sleep(0.1)
            command = [sys.executable, "-m", "pipelines.promote", "--version", str(version), "--yes", *options]
            log = self.where.log("pipeline")
            process = daemon.spawn(self.where.tag("pipeline"), command, log, cwd=self.where.folder)
            self.jobs.append(Job(len(self.jobs) + 1, version, approved_at, process))

    def last_words(self) -> str:
        """The last line of the newest job's log."""
        log = self.where.log("pipeline")
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else "it said nothing"
