"""A target without processes, kept in one JSON file, so that a killed controller's successor finds it as it was.

`Script` says how versions behave, by digest. Counters follow from the time a slot has had traffic.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TargetError
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Target, Version, other

RATE = 4000.0  # requests a second, so that a few milliseconds are enough for an analysis


@dataclass(frozen=True)
class Script:
    """What goes wrong with which version."""

    dies: frozenset[str] = frozenset()  # ends as soon as it is started
    never_ready: frozenset[str] = frozenset()
    errors: frozenset[str] = frozenset()  # answers errors from its start
    errors_live: frozenset[str] = frozenset()  # … once users' requests come
    silent_switch: bool = False  # the gateway never confirms
    streams_s: float = 0.0  # open streams last for so long after the route has left


class MemoryTarget(Target):
    def __init__(self, path: Path, script: Script | None = None) -> None:
        self.path, self.script = path, script or Script()
        if not path.exists():
            empty: dict[str, Any] = {"live": None, "generation": 0, "mirrored": None, "count": 0}
            empty |= {"left": {}, "crashed": {}}
            path.write_text(json.dumps(empty | {"slots": dict.fromkeys(SLOTS)}))

    def observe(self) -> Observation:
        with self._state() as state:
            return Observation(
                live=state["live"],
                generation=state["generation"] or None,
                mirrored=state["mirrored"],
                slots={slot: self._slot(state, slot) for slot in SLOTS},
            )

    def start(self, slot: Slot, version: Version) -> None:
        with self._state() as state:
            found = state["slots"][slot]
            if found and found["digest"] == version.digest:
                return
            if found and state["live"] == slot:
                raise TargetError(f"{slot} is live and serves {found['digest'][:12]}: it is not replaced")
            state["count"] += 1
            now = time.time()
            state["slots"][slot] = {"digest": version.digest, "identity": f"p{state['count']}", "at": now}
            state["left"].pop(slot, None)
            state["crashed"].pop(slot, None)
            if version.digest in self.script.dies:
                state["slots"][slot] = None

    def stop(self, slot: Slot, grace_s: float) -> None:
        with self._state() as state:
            if state["live"] == slot and state["slots"][slot]:
                raise TargetError(f"{slot} is live: it is not stopped")
            state["slots"][slot] = None

    def mirror(self, slot: Slot | None, percent: float) -> None:
        with self._state() as state:
            state["mirrored"] = slot

    def switch(self, slot: Slot) -> int:
        if self.script.silent_switch and self.observe().live is not None:
            raise TargetError("the gateway did not confirm the route")
        with self._state() as state:
            if state["live"] != slot:
                state["generation"] += 1
                state["live"] = slot
                state["left"][other(slot)] = time.time()
            return int(state["generation"])

    def sample(self, slot: Slot) -> Sample:
        with self._state() as state:
            found, now = state["slots"][slot], time.time()
            if not found:
                return Sample(now, None)
            requests = int((now - found["at"]) * RATE)
            bad = found["digest"] in self.script.errors
            bad = bad or (state["live"] == slot and found["digest"] in self.script.errors_live)
            times = {5.0: 0, 10.0: requests, float("inf"): requests}
            errors = requests // 2 if bad else 0
            return Sample(now, found["identity"], requests, errors, 0, 0, times, times)

    def kill(self, slot: Slot) -> None:
        """The slot's process dies."""
        with self._state() as state:
            state["crashed"][slot] = state["slots"][slot]["digest"]
            state["slots"][slot] = None

    def crashed(self, slot: Slot) -> str | None:
        with self._state() as state:
            digest: str | None = state["crashed"].get(slot)
            return digest

    def _slot(self, state: dict[str, Any], slot: Slot) -> SlotState:
        found = state["slots"][slot]
        if not found:
            return SlotState()
        busy = state["live"] == slot or time.time() - state["left"].get(slot, 0) < self.script.streams_s
        return SlotState(
            digest=found["digest"],
            identity=found["identity"],
            ready=found["digest"] not in self.script.never_ready,
            active_requests=3 if busy else 0,
            url=f"memory://{slot}",
        )

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        with self.path.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            state = json.load(stream)
            before = json.dumps(state)
            yield state
            after = json.dumps(state)
            if after != before:  # one write, shorter than a page: a kill leaves the old or the new
                stream.seek(0)
                stream.write(after.ljust(2048))
                stream.flush()
