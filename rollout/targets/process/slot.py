"""One slot on this machine: a `pipelines.serve` process, found by its tag, and what was last asked of it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from pydantic import ValidationError

from core import files
from core.errors import TargetError
from core.records import Record
from host import daemon
from host.daemon import Daemon
from rollout.targets import Slot, SlotState, Version

ROOT = Path(__file__).parents[3]
ASK_S = 1.0  # `verify=False` below: there is no TLS on loopback, and loading the CAs takes longer than asking


class SlotSpec(Record):
    """What a slot was asked to be. What it is, is asked of the process."""

    digest: str  # of the version it was started with
    stopping: str | None = None  # identity of the process that is to end
    stop_at: float | None = None  # UNIX time when it is killed
    gateway: str | None = None  # identity of the gateway at the start, and what it had counted for the slot by then
    gateway_5xx: int = 0


class SlotProcess:
    """`folder` holds the slot's spec and its log, `port` is where it listens on loopback."""

    def __init__(self, slot: Slot, folder: Path, port: int) -> None:
        self.slot, self.port = slot, port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{slot}.log"
        self._spec_file = folder / f"{slot}.json"
        self.tag = f"slot {folder.resolve()} {slot}"

    @property
    def process(self) -> Daemon | None:
        """The running server, whoever started it."""
        return daemon.find(self.tag)

    @property
    def spec(self) -> SlotSpec | None:
        """None before the first start."""
        try:
            return SlotSpec.model_validate_json(self._spec_file.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise TargetError(f"{self._spec_file} is not a slot's spec: {error}") from error

    def save(self, spec: SlotSpec) -> None:
        files.write_text(self._spec_file, spec.model_dump_json() + "\n")

    def stopping(self, process: Daemon) -> bool:
        """Whether this process was asked to end."""
        spec = self.spec
        return spec is not None and spec.stopping == process.identity

    def spawn(self, version: Version, options: Sequence[str], spec: SlotSpec) -> Daemon:
        """Start the server; the caller holds the lock and has seen that the slot is empty."""
        self.save(spec)
        command = [sys.executable, "-m", "pipelines.serve", "--folder", str(version.folder.resolve())]
        own = ["--slot", self.slot, "--host", "127.0.0.1", "--port", str(self.port)]
        own += ["--model-name", version.model_name]
        return daemon.spawn(self.tag, [*command, *own, *options], self.log, {"digest": version.digest}, cwd=ROOT)

    def terminate(self, process: Daemon, grace_s: float) -> None:
        """Ask it to finish and end: once, as a second signal would cut what runs. Killed when its time is over."""
        spec, now = self.spec, time.time()
        if spec is None or spec.stopping != process.identity:
            fresh = spec or SlotSpec(digest=process.facts.get("digest", ""))
            self.save(fresh.model_copy(update={"stopping": process.identity, "stop_at": now + grace_s}))
            process.signal(signal.SIGTERM)
            return
        stop_at = min(spec.stop_at or now, now + grace_s)
        if now >= stop_at:
            process.signal(signal.SIGKILL)
        elif self.state(process).ready:  # whoever saved the spec was killed before it sent the signal
            process.signal(signal.SIGTERM)
        elif stop_at != spec.stop_at:
            self.save(spec.model_copy(update={"stop_at": stop_at}))

    def state(self, process: Daemon | None, active_requests: int | None = None) -> SlotState:
        """What the process itself says; an answer without a digest is not from a server of ours."""
        if process is None:
            return SlotState()
        digest, ready = None, False
        try:
            answer = httpx.get(f"{self.url}/health/ready", timeout=ASK_S, trust_env=False, verify=False)
            digest = answer.headers.get("x-assay-manifest")
            ready = answer.status_code == 200 and digest is not None
        except httpx.HTTPError:
            pass  # it loads still, or hangs: not ready is all that is known
        return SlotState(digest, process.identity, ready, active_requests, self.url)

    def metrics(self, timeout_s: float) -> str:
        """The server's /metrics. Raises TargetError when it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/metrics", timeout=timeout_s, trust_env=False, verify=False)
            return answer.raise_for_status().text
        except httpx.HTTPError as error:
            raise TargetError(f"{self.slot} does not answer at {self.url}/metrics: {error}") from error

    def crashed_digest(self) -> str | None:
        """Of the version that it served until it ended without being asked to; None for any other slot."""
        spec = self.spec
        return spec.digest if spec and spec.stopping is None and self.process is None else None

    def problem(self, state: SlotState) -> str | None:
        """What a person should know about it."""
        spec = self.spec
        if spec is None:
            return None
        if state.empty and spec.stopping is None:
            return f"{self.slot} crashed; the last line of {self.log.name}: {self.last_line()}"
        if state.digest not in (None, spec.digest):
            return f"{self.slot} serves {str(state.digest)[:12]}, but was started with {spec.digest[:12]}"
        return None

    def last_line(self) -> str:
        """Of the log; of a JSON line its message."""
        with self.log.open("rb") if self.log.exists() else open("/dev/null", "rb") as stream:  # noqa: PTH123
            stream.seek(max(0, stream.seek(0, 2) - 4000))
            lines = stream.read().decode(errors="replace").strip().splitlines()
        try:
            return str(json.loads(lines[-1])["message"])
        except (IndexError, ValueError, KeyError, TypeError):
            return lines[-1][:300] if lines else "(the log is empty)"
