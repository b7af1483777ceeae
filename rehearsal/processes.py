"""Server processes of one's own: free ports, waiting until one answers, and an end when their owner ends.

A controller that is to be replaced must not own its daemons this way; a demo, a benchmark or a test should.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core.errors import ResourceError
from host import daemon

ROOT = Path(__file__).parents[1]
START_S = 60.0
GRACE_S = 2.0
QUIET_S = 1.0  # so long without a process: nobody who outlived the owner starts one any more


def free_ports(count: int, below: int = 65536) -> list[int]:
    """Different TCP ports on loopback that nothing listens on now, all lower than `below`."""
    ports: list[int] = []
    with ExitStack() as held:  # all at once: a port that is given back may be given again
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if port < below:
                ports.append(port)
    return ports


def wait_until_ready(
    name: str, url: str, alive: Callable[[], bool], log: Path, within_s: float = START_S, answer_s: float = 5.0
) -> None:
    """Until `url` answers 200, `answer_s` at most for each try.

    Raises ResourceError with the log's last line when the process has ended, or it takes longer than `within_s`.
    """
    import httpx

    deadline_s = time.monotonic() + within_s
    while True:
        running = alive()
        try:
            if httpx.get(url, timeout=answer_s, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass  # not yet
        late = time.monotonic() > deadline_s
        if not running or late:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            how = f"does not answer after {within_s:.0f} s" if running else "ended while it started"
            raise ResourceError(f"{name} {how}; last line of {log}: {lines[-1] if lines else 'none'}")
        time.sleep(0.05)


@contextmanager
def model_server(
    folder: Path, log: Path, *arguments: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`pipelines.serve` on the version in `folder`, ready on a free port: its process and URL; killed at the end."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "pipelines.serve", "--folder", str(folder), "--slot", "blue"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready("the server", f"{url}/health/ready", lambda: process.poll() is None, log)
        yield process, url
    finally:
        process.kill()
        process.wait()


@contextmanager
def ends_with_owner(tags: Sequence[str]) -> Iterator[None]:
    """Every daemon that runs under `tags` ends with this block, or with this process, however that ends.

    A small process waits until the owner's end of a pipe closes. That is the kernel's doing, so it also happens at
    SIGKILL, where no handler of the owner runs.
    """
    command = [sys.executable, "-m", "rehearsal.processes", *tags]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd=ROOT)
    assert keeper.stdin is not None
    try:
        yield
    finally:
        keeper.stdin.close()
        keeper.wait()


def _end_all(tags: Sequence[str]) -> None:
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
    _end_all(sys.argv[1:])
