"""`champion` moved by hand: only a finished rollout may move it, so any other value is told and recorded."""

from __future__ import annotations

import time

from rollout.chain import Event
from rollout.record import RolloutRecord, Who
from rollout.states import State

MOVED = "alias_moved"


def expected(record: RolloutRecord, environment: str) -> int | None:
    """The version that the last successful rollout made champion; None when there is none, or one halted since."""
    last = record.newest(environment, State.SUCCEEDED, State.HALTED)
    return last.plan.version.model_version if last and last.state is State.SUCCEEDED else None


def report(record: RolloutRecord, environment: str, model_name: str, found: int | None, who: Who) -> str | None:
    """What is wrong with alias `champion`, or None. Written to the events once for each new value."""
    wanted = expected(record, environment)
    if wanted is None or found == wanted:
        return None
    what = f"champion is {'not set' if found is None else f'version {found}'}, not version {wanted}"
    told = record.events("environment = ? AND kind IN (?, 'transition')", environment, MOVED)
    if what not in {event.what for event in told[_last_success(told) :]}:
        why = "no rollout did this: somebody moved the alias by hand; live traffic is unchanged"
        record.append(Event(time.time(), environment, None, MOVED, who.name, what, why, model_name, found))
    return f"{what}: somebody moved the alias by hand"


def _last_success(events: list[Event]) -> int:
    ends = [index for index, event in enumerate(events) if event.what.endswith(f"-> {State.SUCCEEDED}")]
    return ends[-1] if ends else 0
