"""Looks at what goes on, three times a second: the route and the slots, the record's events, and the users."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import TargetError
from demo.versions import Entry
from rehearsal.traffic import Traffic
from rollout.chain import Event
from rollout.record import RolloutRecord
from rollout.states import TERMINAL, State
from rollout.targets import Observation
from rollout.targets.local import LocalTarget

LOOK_S = 0.3
WINDOW_S = 5.0
ANALYSES = (State.PRE_PROMOTION_ANALYSIS, State.POST_PROMOTION_ANALYSIS)


@dataclass(frozen=True)
class Users:
    """What users saw in the last `WINDOW_S`, and altogether."""

    per_s: float
    p50_ms: float | None  # to the end of the answer
    p95_ms: float | None
    requests: int
    lost: int


@dataclass
class Watch:
    """`on_transition` is called with every transition. A version with a fault gets it as soon as it is live."""

    target: LocalTarget
    record: RolloutRecord
    traffic: Traffic
    entries: list[Entry]
    on_transition: Callable[[Event], None] = lambda event: None
    seen: Observation | None = None
    transitions: list[Event] = field(default_factory=list)  # in order
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """After a last look."""
        self._ending.set()
        if self._thread:
            self._thread.join()
        self.look()

    def look(self) -> None:
        """Once."""
        try:
            self.seen = self.target.observe()
        except TargetError:
            self.seen = None  # not known at this moment: shown as such
        last = self.transitions[-1].seq if self.transitions else 0
        for event in self.record.events("seq > ? AND kind = 'transition'", last):
            self._fault(event)
            self.transitions.append(event)
            self.on_transition(event)

    def users(self) -> Users:
        now, requests = time.time(), list(self.traffic.requests)
        recent = [one for one in requests[-2000:] if one.ended > now - WINDOW_S]
        times_ms = sorted(1000 * (one.ended - one.began) for one in recent)

        def quantile(share: float) -> float | None:
            return times_ms[min(len(times_ms) - 1, int(share * len(times_ms)))] if times_ms else None

        lost = sum(one.lost is not None for one in requests)
        return Users(len(recent) / WINDOW_S, quantile(0.5), quantile(0.95), len(requests), lost)

    def ended(self, entry: Entry) -> Event | None:
        """The newest end of a rollout of this version."""
        ends = [
            event
            for event in self.transitions
            if event.digest == entry.version.digest and state_of(event) in TERMINAL
        ]
        return ends[-1] if ends else None

    def cause(self, end: Event) -> str:
        """Why a rollout ended so: what began the way back, if it went back."""
        back = (State.ABORTING, State.ROLLING_BACK)
        mine = [event for event in self.transitions if event.rollout_id == end.rollout_id]
        return next((event.why for event in mine if state_of(event) in back), end.why)

    def first_answer(self, entry: Entry) -> float | None:
        """When a user first got an answer from this version: UNIX time of its first byte."""
        firsts = [one.first for one in self.traffic.requests if one.digest == entry.version.digest]
        return min(firsts, default=None)

    def analysis_s(self, rollout_id: str | None, until: float) -> float:
        """How long a rollout was in its analyses before `until`."""
        total, entered = 0.0, None
        for event in self.transitions:
            if event.rollout_id == rollout_id:
                if entered is not None:
                    total += max(0.0, min(event.at, until) - entered)
                entered = event.at if state_of(event) in ANALYSES else None
        return total

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            self.look()

    def _fault(self, event: Event) -> None:
        for entry in self.entries:
            live = event.digest == entry.version.digest and state_of(event) is State.POST_PROMOTION_ANALYSIS
            if entry.fault and live:
                entry.fault.touch()


def state_of(event: Event) -> State:
    """That a transition led to."""
    return State(event.what.rpartition(" -> ")[2])
