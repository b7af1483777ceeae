"""One slot of the local target: a `pipelines.serve` process, found by its tag, and what was last asked of it."""

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

ROOT = Path(__file__).parents[2]
ASK_S = 1.0  # `verify=False` below: there is no TLS on loopback, and loading the CAs takes longer than asking


class Notes(Record):
    """What was asked of a slot. What is true is asked of the process; this only says what was meant."""

    digest: str  # that it was started with
    stopping: str | None = None  # identity of the process that is to end
    stop_at: float | None = None  # UNIX time when it is killed
    gateway: str | None = None  # identity of the gateway at the start, and what it had counted for the slot by then
    gateway_5xx: int = 0


class SlotProcess:
    """`folder` holds the slot's notes and its log, `port` is where it listens on loopback."""

    def __init__(self, slot: Slot, folder: Path, port: int) -> None:
        self.slot, self.port = slot, port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{slot}.log"
        self._notes = folder / f"{slot}.json"
        self.tag = f"slot {folder.resolve()} {slot}"

    def find(self) -> Daemon | None:
        """The process, whoever started it."""
        return daemon.find(self.tag)

    @property
    def notes(self) -> Notes | None:
        """None before the first start."""
        try:
            return Notes.model_validate_json(self._notes.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise TargetError(f"{self._notes} is not what the local target wrote: {error}") from error

    def note(self, notes: Notes) -> None:
        files.write_text(self._notes, notes.model_dump_json() + "\n")

    def stopping(self, process: Daemon) -> bool:
        """Whether this process was asked to end."""
        notes = self.notes
        return notes is not None and notes.stopping == process.identity

    def spawn(self, version: Version, options: Sequence[str], notes: Notes) -> Daemon:
        """Start the server; the caller holds the lock and has seen that the slot is empty."""
        self.note(notes)
        command = [sys.executable, "-m", "pipelines.serve", "--folder", str(version.folder.resolve())]
        own = [
            "--slot",
            self.slot,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--model-name",
            version.model_name,
        ]
        return daemon.spawn(self.tag, [*command, *own, *options], self.log, {"digest": version.digest}, cwd=ROOT)

    def terminate(self, process: Daemon, grace_s: float) -> None:
        """Ask it to finish and end: once, as a second signal would cut what runs. Killed when its time is over."""
        notes, now = self.notes, time.time()
        if notes is None or notes.stopping != process.identity:
            fresh = notes or Notes(digest=process.facts.get("digest", ""))
            self.note(fresh.model_copy(update={"stopping": process.identity, "stop_at": now + grace_s}))
            process.signal(signal.SIGTERM)
            return
        stop_at = min(notes.stop_at or now, now + grace_s)
        if now >= stop_at:
            process.signal(signal.SIGKILL)
        elif self.state(process).ready:  # the one who noted it was killed before the signal was sent
            process.signal(signal.SIGTERM)
        elif stop_at != notes.stop_at:
            self.note(notes.model_copy(update={"stop_at": stop_at}))

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

    def fallen(self) -> str | None:
        """The digest that it served until it ended, though nobody asked it to; None for any other slot."""
        notes = self.notes
        return notes.digest if notes and notes.stopping is None and self.find() is None else None

    def problem(self, state: SlotState) -> str | None:
        """What a person should know about it."""
        notes = self.notes
        if notes is None:
            return None
        if state.empty and notes.stopping is None:
            return f"{self.slot} ended by itself; {self.log.name} ends with: {self.last_words()}"
        if state.digest not in (None, notes.digest):
            return f"{self.slot} serves {str(state.digest)[:12]}, not {notes.digest[:12]} that it was given"
        return None

    def last_words(self) -> str:
        """The last line of the log, as text."""
        with self.log.open("rb") if self.log.exists() else open("/dev/null", "rb") as stream:  # noqa: PTH123
            stream.seek(max(0, stream.seek(0, 2) - 4000))
            lines = stream.read().decode(errors="replace").strip().splitlines()
        try:
            return str(json.loads(lines[-1])["message"])
        except (IndexError, ValueError, KeyError, TypeError):
            return lines[-1][:300] if lines else "nothing"
