"""The conditions of the transition table: each returns why it holds, or None. A docstring is the table's text."""

from __future__ import annotations

from collections.abc import Callable

from rollout.states import Facts

STARTS = 3  # a slot that crashed so often is not started again
Guard = Callable[[Facts], str | None]


def always(facts: Facts) -> str | None:
    """at once"""
    return f"{facts.plan.kind} version {facts.plan.version.model_version} ({facts.plan.version.digest[:12]})"


def cancelled(facts: Facts) -> str | None:
    """a person cancels"""
    return f"cancelled by {facts.cancelled}" if facts.cancelled else None


def no_evidence(facts: Facts) -> str | None:
    """the version's evidence is not a pass, and there is no override"""
    if facts.plan.evidence == "pass" or facts.plan.override or facts.plan.kind == "rollback":
        return None
    return f"the version's own evidence says {facts.plan.evidence}"


def files_differ(facts: Facts) -> str | None:
    """a file does not match the manifest"""
    return facts.verification or None


def verified(facts: Facts) -> str | None:
    """every file matches the manifest"""
    if facts.verification != "":
        return None
    why = f"; evidence {facts.plan.evidence}, overridden: {facts.plan.override}" if facts.plan.override else ""
    return f"every file matches manifest {facts.plan.version.digest[:12]}{why}"


def verified_live(facts: Facts) -> str | None:
    """every file matches, and the version is live already (adopt)"""
    return verified(facts) if facts.plan.kind == "adopt" and facts.on_mine and facts.serves else None


def live_but_unready(facts: Facts) -> str | None:
    """the version has the route, but is not ready (adopt)"""
    return None if facts.plan.kind != "adopt" or facts.serves or facts.seen is None else "the live slot is not ready"


def route_taken(facts: Facts) -> str | None:
    """the route is on the preview before the analysis"""
    if facts.plan.kind != "adopt" and facts.on_mine:
        return f"something else moved the route to {facts.plan.slot} before the analysis"
    return None


def on_slot(facts: Facts) -> str | None:
    """the route is on the rollout's slot"""
    return f"{facts.plan.slot} has the route" if facts.on_mine else None


def ready(facts: Facts) -> str | None:
    """the preview is ready with the right digest"""
    return (
        f"{facts.plan.slot} serves {facts.plan.version.digest[:12]} as {facts.mine.identity}"
        if facts.serves
        else None
    )


def ready_to_go_back(facts: Facts) -> str | None:
    """the slot of the former version is ready (rollback)"""
    return ready(facts) if facts.plan.kind == "rollback" else None


def lost(facts: Facts) -> str | None:
    """the slot's process was replaced, serves another digest, or is no longer ready"""
    if facts.seen is None:
        return None
    if facts.mine.identity != facts.identity:
        return f"{facts.plan.slot} ended or started again ({facts.identity} is now {facts.mine.identity})"
    if facts.mine.digest not in (None, facts.plan.version.digest):
        return f"{facts.plan.slot} serves another digest, {str(facts.mine.digest)[:12]}"
    if facts.ready_at is not None and facts.now - facts.ready_at > facts.settings.timeouts.call_s:
        return f"{facts.plan.slot} has not been ready for {facts.now - facts.ready_at:.0f} s"
    return None


def crash_loop(facts: Facts) -> str | None:
    """the preview crashes each time it is started"""
    if facts.seen is None or not facts.mine.empty or facts.starts < STARTS or _just_started(facts):
        return None
    return f"{facts.plan.slot} was started {facts.starts} times and crashed each time: see its log"


def failed(facts: Facts) -> str | None:
    """the analysis fails"""
    return f"analysis failed: {facts.analysis_why}" if facts.analysis == "fail" else None


def inconclusive(facts: Facts) -> str | None:
    """the analysis is inconclusive"""
    return f"analysis inconclusive: {facts.analysis_why}" if facts.analysis == "inconclusive" else None


def passed(facts: Facts) -> str | None:
    """the analysis passes"""
    return f"analysis passed: {facts.analysis_why}" if facts.analysis == "pass" else None


def approved(facts: Facts) -> str | None:
    """a person approves"""
    return f"approved by {facts.approved}" if facts.approved else None


def switched(facts: Facts) -> str | None:
    """the gateway reports the new route"""
    return f"generation {facts.seen.generation} routes to {facts.plan.slot}" if facts.on_mine and facts.seen else None


def switched_for_rollback(facts: Facts) -> str | None:
    """the gateway reports the new route (rollback)"""
    return switched(facts) if facts.plan.kind == "rollback" else None


def route_off(facts: Facts) -> str | None:
    """something else moved the route away"""
    return None if facts.seen is None or facts.on_mine else f"something else moved the route to {facts.seen.live}"


def overdue(facts: Facts) -> str | None:
    """the deadline passes"""
    return "overdue"  # the machine calls it only after the deadline, and names the limit


def finished(facts: Facts) -> str | None:
    """`champion` is set and the old slot is drained"""
    gone = facts.settings.keep_previous or facts.old.empty
    if facts.on_mine and facts.serves and champion_moved(facts) and drained_old(facts) and gone:
        return f"champion is version {facts.champion}, previous {facts.previous}"
    return None


def aborted(facts: Facts) -> str | None:
    """the preview is gone and nothing is mirrored"""
    clean = facts.seen is not None and facts.seen.mirrored is None and not facts.on_mine
    return "the live slot was not touched" if clean and (facts.mine.empty or not facts.started) else None


def no_way_back(facts: Facts) -> str | None:
    """nothing was live before"""
    return None if facts.plan.from_version else "there is no version to go back to; the slot was left as it is"


def rolled_back(facts: Facts) -> str | None:
    """the old version has the route, the new one is gone, `champion` is the old one"""
    back = facts.back_confirmed and facts.seen and facts.seen.live == facts.plan.from_slot and facts.old_serves
    if back and facts.mine.empty and champion_true(facts) and facts.plan.from_version and facts.seen:
        return f"generation {facts.seen.generation} routes to version {facts.plan.from_version.model_version}"
    return None


# ── when an effect is due ─────────────────────────────────────────────────────────────────────────────────────────
def unverified(facts: Facts) -> bool:
    return facts.verification is None


def to_start(facts: Facts) -> bool:
    if facts.plan.kind == "adopt" or _just_started(facts):
        return False
    return facts.mine.empty or facts.mine.digest not in (None, facts.plan.version.digest)


def to_mirror(facts: Facts) -> bool:
    return facts.plan.from_version is not None and facts.seen is not None and facts.seen.mirrored != facts.plan.slot


def mirrored(facts: Facts) -> bool:
    return facts.seen is not None and facts.seen.mirrored is not None


def due(facts: Facts) -> bool:
    return facts.measure_due


def to_switch(facts: Facts) -> bool:
    return facts.serves and not facts.on_mine and not mirrored(facts)


def to_move_champion(facts: Facts) -> bool:
    return facts.on_mine and facts.serves and not champion_moved(facts)


def champion_moved(facts: Facts) -> bool:
    was = facts.plan.from_version
    right = was is None or facts.previous == was.model_version
    return facts.champion_known and facts.champion == facts.plan.version.model_version and right


def drained_old(facts: Facts) -> bool:
    """No open request on the old slot, or the time for it is over."""
    return facts.old.empty or _drained(facts.old.active_requests, facts)


def drained_mine(facts: Facts) -> bool:
    """The same of the rollout's own slot. The live slot is never drained."""
    return not facts.on_mine and _drained(facts.mine.active_requests, facts)


def to_stop_old(facts: Facts) -> bool:
    return not facts.settings.keep_previous and champion_moved(facts) and not facts.old.empty and drained_old(facts)


def to_stop(facts: Facts) -> bool:
    return facts.started and to_stop_after_switch(facts)


def to_stop_after_switch(facts: Facts) -> bool:
    confirmed = facts.back_confirmed or facts.started  # never ahead of a switch that may still arrive
    return confirmed and facts.seen is not None and not facts.mine.empty and drained_mine(facts)


def to_start_old(facts: Facts) -> bool:
    was = facts.plan.from_version
    if was is None or _just_started(facts):
        return False
    return facts.old.empty or facts.old.digest not in (None, was.digest)


def to_switch_back(facts: Facts) -> bool:
    there = facts.seen is not None and facts.seen.live == facts.plan.from_slot
    # Once even when it seems needless: a switch that the gateway has not taken yet must not arrive later.
    return facts.old_serves and not (there and facts.back_confirmed)


def champion_true(facts: Facts) -> bool:
    """`champion` is not the version that is taken back. A registry that is down does not matter if it never was."""
    if not facts.champion_known:
        return not facts.champion_touched
    return facts.champion != facts.plan.version.model_version


def to_restore_champion(facts: Facts) -> bool:
    return facts.plan.from_version is not None and not champion_true(facts)


def _just_started(facts: Facts) -> bool:
    """A start takes a moment to be seen; one that failed at once is not repeated in a hurry."""
    return facts.start_at is not None and facts.now - facts.start_at < facts.settings.timeouts.call_s / 2


def _drained(active: int | None, facts: Facts) -> bool:
    if active == 0:
        return True
    return facts.left_at is not None and facts.now - facts.left_at >= facts.settings.timeouts.drain_s
