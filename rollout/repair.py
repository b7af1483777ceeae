"""What `reconcile` finds wrong with a rollout's parts, and puts right: gateway, live slot, alias `champion`, rollout.

With `dry` nothing is changed and nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rollout import aliases, locks
from rollout.aliases import CHAMPION
from rollout.record import Rollout
from rollout.session import Session
from rollout.states import State, deadlines_s

QUIET_S = 30.0  # a rollout is taken over only after its record was silent for so long: its controller may just begin


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `problem`: a person should look."""

    subject: str  # gateway, slot, champion, rollout, approval
    what: str
    problem: bool = False
    pipeline_url: str | None = None


def gateway(session: Session, dry: bool) -> Iterator[Finding]:
    """Healed by the target when it crashed, and whatever else the target reports."""
    if healed := session.target.heal_gateway(dry):
        yield Finding("gateway", healed, problem=dry)
        if dry:
            return
    for problem in session.target.observe().problems:
        yield Finding("gateway", problem, problem=True)


def live_slot(session: Session, dry: bool) -> Iterator[Finding]:
    """Started again when it crashed. No rollout could do that: without a live slot its analysis is inconclusive."""
    seen = session.target.observe()
    if seen.live is None or seen.slots[seen.live].ready or session.record.unfinished(session.environment):
        return
    digest = session.target.crashed(seen.live)
    if digest is None:
        yield Finding("slot", f"{seen.live} is live, but not ready: users get no answers", problem=True)
        return
    crash, known = f"{seen.live} is live and crashed", session.registry.by_digest(digest)
    if known is None:
        yield Finding("slot", f"{crash}; no registered version has manifest {digest[:12]}", problem=True)
    elif dry:
        yield Finding("slot", f"{crash}: version {known.number} would be started again", problem=True)
    else:
        version = aliases.fetched(session.settings.model.name, known, session.registry)
        session.target.start(seen.live, version)
        yield Finding("slot", f"{crash}; version {known.number} was started again: find out why", problem=True)


def champion(session: Session, dry: bool) -> Iterator[Finding]:
    """Changed manually: recorded, never moved back."""
    found = session.registry.alias(CHAMPION)
    if dry:
        wanted = aliases.expected_champion(session.record, session.environment)
        if wanted not in (None, found):
            yield Finding("champion", f"is version {found}, not version {wanted}: changed manually", problem=True)
        return
    name = session.settings.model.name
    if changed := aliases.report_manual_change(session.record, session.environment, name, found, session.who):
        what = f"{changed}; put it back, or promote the version that should be live"
        yield Finding("champion", what, problem=True)


def unfinished(session: Session, dry: bool) -> Iterator[Finding]:
    """Resumed when its controller died; here and not by a pipeline, as the record and the slots are here."""
    rollout = session.record.unfinished(session.environment)
    if rollout is None:
        return
    name = f"{rollout.id} of version {rollout.plan.version.model_version}"
    if locks.controller_runs(session.record, session.environment):
        yield Finding("rollout", f"{name} is {rollout.state}, run by another process")
        return
    approved = session.record.asked(rollout, "approve")
    waits = rollout.state is State.AWAITING_APPROVAL and not approved and not session.record.asked(rollout, "cancel")
    ends_at = rollout.entered_at + deadlines_s(session.settings.rollout, rollout.plan)[rollout.state]
    now = time.time()
    if waits and now < ends_at:
        yield Finding("rollout", f"{name} awaits a person's approval for another {ends_at - now:.0f} s")
    elif now - _last_event_at(session, rollout) < QUIET_S:
        yield Finding("rollout", f"{name} is {rollout.state} without a controller, but its record is fresh")
    elif dry:
        yield Finding("rollout", f"{name} is {rollout.state} without a controller: would be resumed", problem=True)
    else:
        ended = session.controller().run(rollout, None if approved or waits else State.AWAITING_APPROVAL)
        what = f"{name} had no controller; resumed, now {ended.state}: {ended.why}"
        yield Finding("rollout", what, problem=ended.state is State.HALTED)


def _last_event_at(session: Session, rollout: Rollout) -> float:
    return max(event.at for event in session.record.events("rollout_id = ?", rollout.id))
