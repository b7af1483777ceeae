"""The rollout's state machine, as a table. Pure: facts in; next state, its reason and the effects that are due out.

`python -m rollout.table` prints the table for docs/rollout.md. Rows of one state are tried in order; the first whose
guard holds is taken, and every state has a deadline among them. While no row holds, the effects of the
state are done, one at a time, each until observation shows it done: so a restart needs no memory of where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollout import guards as g
from rollout.guards import Guard
from rollout.states import TERMINAL, Effect, Facts, State, deadlines_s

S, E = State, Effect


@dataclass(frozen=True)
class Row:
    """In `state`, when `guard` holds: go to `to`."""

    state: State
    guard: Guard
    to: State


@dataclass(frozen=True)
class Do:
    """An effect, and when it is due."""

    effect: Effect
    due: Callable[[Facts], bool]


@dataclass(frozen=True)
class Step:
    """What follows from the facts: another state with its reason, or the same one and an effect to do now."""

    state: State
    reason: str | None = None
    effect: Effect | None = None


TABLE: tuple[Row, ...] = (
    Row(S.PENDING, g.cancelled, S.ABORTING),
    Row(S.PENDING, g.no_evidence, S.ABORTING),
    Row(S.PENDING, g.overdue, S.ABORTING),
    Row(S.PENDING, g.always, S.VERIFYING),
    Row(S.VERIFYING, g.cancelled, S.ABORTING),
    Row(S.VERIFYING, g.route_taken, S.ABORTING),
    Row(S.VERIFYING, g.files_differ, S.ABORTING),
    Row(S.VERIFYING, g.live_but_unready, S.ABORTING),
    Row(S.VERIFYING, g.verified_live, S.POST_PROMOTION_ANALYSIS),
    Row(S.VERIFYING, g.verified, S.STARTING_PREVIEW),
    Row(S.VERIFYING, g.overdue, S.ABORTING),
    Row(S.STARTING_PREVIEW, g.cancelled, S.ABORTING),
    Row(S.STARTING_PREVIEW, g.route_taken, S.ABORTING),
    Row(S.STARTING_PREVIEW, g.crash_loop, S.ABORTING),
    Row(S.STARTING_PREVIEW, g.ready_to_go_back, S.PROMOTING),
    Row(S.STARTING_PREVIEW, g.ready, S.PRE_PROMOTION_ANALYSIS),
    Row(S.STARTING_PREVIEW, g.overdue, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.cancelled, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.route_taken, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.lost, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.failed, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.inconclusive, S.ABORTING),
    Row(S.PRE_PROMOTION_ANALYSIS, g.passed, S.AWAITING_APPROVAL),
    Row(S.PRE_PROMOTION_ANALYSIS, g.overdue, S.ABORTING),
    Row(S.AWAITING_APPROVAL, g.cancelled, S.ABORTING),
    Row(S.AWAITING_APPROVAL, g.route_taken, S.ABORTING),
    Row(S.AWAITING_APPROVAL, g.lost, S.ABORTING),
    Row(S.AWAITING_APPROVAL, g.approved, S.PROMOTING),
    Row(S.AWAITING_APPROVAL, g.overdue, S.ABORTING),
    # From here on a switch may be under way, seen or not: the only way out is to switch back and see that confirmed.
    Row(S.PROMOTING, g.cancelled, S.ROLLING_BACK),
    Row(S.PROMOTING, g.lost, S.ROLLING_BACK),
    Row(S.PROMOTING, g.switched_for_rollback, S.FINALIZING),
    Row(S.PROMOTING, g.switched, S.POST_PROMOTION_ANALYSIS),
    Row(S.PROMOTING, g.overdue, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.cancelled, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.route_off, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.lost, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.failed, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.inconclusive, S.ROLLING_BACK),
    Row(S.POST_PROMOTION_ANALYSIS, g.passed, S.FINALIZING),
    Row(S.POST_PROMOTION_ANALYSIS, g.overdue, S.ROLLING_BACK),
    Row(S.FINALIZING, g.finished, S.SUCCEEDED),
    Row(S.FINALIZING, g.cancelled, S.ROLLING_BACK),
    Row(S.FINALIZING, g.route_off, S.ROLLING_BACK),
    Row(S.FINALIZING, g.lost, S.ROLLING_BACK),
    Row(S.FINALIZING, g.overdue, S.ROLLING_BACK),
    Row(S.ABORTING, g.on_slot, S.ROLLING_BACK),
    Row(S.ABORTING, g.aborted, S.ABORTED),
    Row(S.ABORTING, g.overdue, S.HALTED),
    Row(S.ROLLING_BACK, g.no_way_back, S.HALTED),
    Row(S.ROLLING_BACK, g.rolled_back, S.ROLLED_BACK),
    Row(S.ROLLING_BACK, g.overdue, S.HALTED),
)

# States that clean up: after a restart they get their whole time again, however long no controller ran.
RESUMED = frozenset({S.FINALIZING, S.ABORTING, S.ROLLING_BACK})

EFFECTS: dict[State, tuple[Do, ...]] = {
    S.VERIFYING: (Do(E.VERIFY, g.unverified),),
    S.STARTING_PREVIEW: (Do(E.START, g.to_start),),
    S.PRE_PROMOTION_ANALYSIS: (Do(E.MIRROR, g.to_mirror), Do(E.MEASURE, g.due)),
    S.AWAITING_APPROVAL: (Do(E.UNMIRROR, g.mirrored),),
    S.PROMOTING: (Do(E.UNMIRROR, g.mirrored), Do(E.SWITCH, g.to_switch)),
    S.POST_PROMOTION_ANALYSIS: (Do(E.MEASURE, g.due),),
    S.FINALIZING: (Do(E.SET_CHAMPION, g.to_move_champion), Do(E.STOP_OLD, g.to_stop_old)),
    S.ABORTING: (Do(E.UNMIRROR, g.mirrored), Do(E.STOP, g.to_stop)),
    S.ROLLING_BACK: (
        Do(E.SWITCH_BACK, g.to_switch_back),
        Do(E.START_OLD, g.to_start_old),
        Do(E.UNMIRROR, g.mirrored),
        Do(E.RESTORE_CHAMPION, g.to_restore_champion),
        Do(E.STOP, g.to_stop_after_switch),
    ),
}


def step(state: State, facts: Facts) -> Step:
    """The first row that holds, else the first effect that is due, else nothing: wait."""
    if state in TERMINAL:
        return Step(state)
    limit_s = deadlines_s(facts.settings, facts.plan)[state]
    for row in TABLE:
        if row.state is not state:
            continue
        if row.guard is g.overdue:
            since = max(facts.entered_at, facts.resumed_at) if state in RESUMED else facts.entered_at
            if facts.now - since >= limit_s:
                return Step(row.to, f"{state} took longer than its {limit_s:.0f} s")
        elif why := row.guard(facts):
            return Step(row.to, why)
    return Step(state, effect=next((do.effect for do in EFFECTS.get(state, ()) if do.due(facts)), None))
