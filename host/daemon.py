"""Processes that outlive the command that started them, and that its successor finds again. Linux only.

A daemon carries its tag in its environment, so nothing has to be written down: a controller that is killed right
after a start, before it could note a pid, still leaves a process that the next one finds. A pid alone names nothing
(it is used again); identity is the pid and the kernel's start time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ResourceError

TAG = "ASSAY_DAEMON"
FACT = "ASSAY_DAEMON_"
POLL_S = 0.02

_children: list[subprocess.Popen[bytes]] = []  # ours, to be reaped when they end: a zombie would look alive


@dataclass(frozen=True)
class Daemon:
    """A process at one moment. `facts` are what it was started with."""

    pid: int
    started: int  # clock ticks since boot
    facts: Mapping[str, str]

    @property
    def identity(self) -> str:
        """Names this process and no later one."""
        return f"{self.pid}-{self.started}"

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        _reap()
        return _started(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal to this very process, never to one that got its pid; False when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time."""
        deadline_s = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True

    def end(self, grace_s: float) -> bool:
        """SIGTERM, and SIGKILL if it is still there after `grace_s`; False when it had to be killed."""
        self.signal(signal.SIGTERM)
        if self.wait(grace_s):
            return True
        self.signal(signal.SIGKILL)
        self.wait(5)
        return False


def spawn(
    tag: str, command: Sequence[str], log: Path, facts: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Daemon:
    """Start `command` in a session of its own (a terminal's Ctrl-C does not reach it), output appended to `log`.

    Raises ResourceError when it cannot be started. The caller sees to it that a tag is started once at a time, with
    a lock file: it is passed on to the child until the new program runs, even if the caller is killed meanwhile.
    """
    _reap()
    own = {TAG: tag} | {f"{FACT}{name}": value for name, value in (facts or {}).items()}
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
                env=os.environ | own,
            )
    except OSError as error:
        raise ResourceError(f"{command[0]} cannot be started: {error}") from error
    _children.append(child)
    found = Daemon(child.pid, _started(child.pid) or 0, dict(facts or {}))
    while found.alive and not Path(f"/proc/{child.pid}/environ").read_bytes():
        time.sleep(0.001)  # the kernel shows the environment a moment after the program has begun
    return found


def find(tag: str) -> Daemon | None:
    """The running process that was started under `tag`, whoever started it; its own children do not count."""
    return next(iter(find_all([tag])), None)


def find_all(tags: Sequence[str]) -> list[Daemon]:
    """Every running process of one of `tags`, in the order of their pids."""
    _reap()
    wanted = {tag.encode() for tag in tags}
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208 - hot path
        started = _started(pid)
        try:
            if started is None or os.getsid(pid) != pid:
                continue
            pairs = [pair.partition(b"=") for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
        except OSError:
            continue  # it ended meanwhile, or belongs to another user
        environment = {name: value for name, _, value in pairs}
        if environment.get(TAG.encode()) in wanted and _started(pid) == started:
            facts = {
                name.decode().removeprefix(FACT): value.decode()
                for name, value in environment.items()
                if name.startswith(FACT.encode())
            }
            found.append(Daemon(pid, started, facts))
    return found


def _started(pid: int) -> int | None:
    """Start time in clock ticks since boot; None when there is no such process, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the command before it may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
