"""The state machine alone: its table as a graph, and random walks through anything that may be seen."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.records import Verdict
from rollout import guards, machine
from rollout.machine import TABLE, step
from rollout.params import RolloutSettings
from rollout.states import TERMINAL, Effect, Facts, Kind, Plan, State, deadlines_s
from rollout.targets import SLOTS, Observation, Slot, SlotState, Version
from tests.rollout.stage import settings

SETTINGS = settings().rollout
OLD, NEW = Version("assay", 1, "a" * 64, Path("old")), Version("assay", 2, "b" * 64, Path("new"))
BEFORE = {
    State.PENDING, State.VERIFYING, State.STARTING_PREVIEW, State.PRE_PROMOTION_ANALYSIS, State.AWAITING_APPROVAL,
}  # fmt: skip


def _plan(kind: Kind = "promote", evidence: Verdict = "pass", was: Version | None = OLD) -> Plan:
    return Plan(kind=kind, version=NEW, slot="green", from_slot="blue", from_version=was, evidence=evidence)


def _next(state: State) -> set[State]:
    return {row.to for row in TABLE if row.state is state}


def test_every_waiting_state_has_a_deadline_and_an_end() -> None:
    waiting = set(State) - TERMINAL
    assert set(deadlines_s(SETTINGS)) == waiting
    assert all(seconds > 0 for seconds in deadlines_s(SETTINGS).values())
    for state in waiting:
        assert guards.overdue in [row.guard for row in TABLE if row.state is state]
        reached, todo = set(), [state]
        while todo:
            found = todo.pop()
            if found not in reached:
                reached.add(found)
                todo += _next(found)
        assert reached & TERMINAL
    assert not any(row.state in TERMINAL for row in TABLE)


def test_a_large_version_and_long_answers_have_longer_deadlines() -> None:
    raw = settings().model_dump()
    del raw["rollout"]["timeouts"]
    small = RolloutSettings.model_validate(raw)
    long = RolloutSettings.model_validate(raw | {"generation": {"max_tokens": 32_000}}).rollout
    tiny, large = (Version("assay", 2, "b" * 64, Path("new"), size) for size in (28 * 2**20, 140 * 10**9))
    assert deadlines_s(small.rollout, replace(_plan(was=tiny), version=tiny)) == deadlines_s(small.rollout)

    found, before = deadlines_s(long, replace(_plan(was=large), version=large)), deadlines_s(small.rollout)
    assert (found[State.VERIFYING], found[State.STARTING_PREVIEW]) == (2800, 5600)
    assert found[State.ROLLING_BACK] == 300 + 5600 + 3200
    assert found[State.PRE_PROMOTION_ANALYSIS] - before[State.PRE_PROMOTION_ANALYSIS] > 3200
    assert found[State.FINALIZING] - before[State.FINALIZING] == 3200 - 120


def test_a_deadline_that_params_set_is_kept() -> None:
    raw = settings().model_dump()
    raw["rollout"]["timeouts"] = {"ready_s": 7, "drain_s": 8}
    found = RolloutSettings.model_validate(raw | {"generation": {"max_tokens": 32_000}}).rollout.timeouts
    assert (found.ready_limit_s(10**12), found.drain_s, found.answer_s) == (7, 8, 3200)


def test_the_deadline_alone_leads_to_an_end_from_everywhere() -> None:
    """A target that never answers again, a registry that is down: no state holds for ever."""
    for state in set(State) - TERMINAL:
        passed = [state]
        while passed[-1] not in TERMINAL:
            facts = Facts(plan=_plan(), settings=SETTINGS, now=1e6, entered_at=0)
            passed.append(step(passed[-1], facts).state)
            assert len(passed) < len(State)
        assert passed[-1] in (State.HALTED, State.ABORTED)


def test_before_the_switch_it_aborts_and_after_it_it_rolls_back() -> None:
    for row in TABLE:
        if row.state in BEFORE:
            assert row.to not in (State.ROLLING_BACK, State.ROLLED_BACK, State.SUCCEEDED)
        elif row.state is not State.ABORTING:
            assert row.to not in (State.ABORTING, State.ABORTED)
    switching = {state for state, todo in machine.EFFECTS.items() if any(do.effect is Effect.SWITCH for do in todo)}
    moving = {
        state for state, todo in machine.EFFECTS.items() if any(do.effect is Effect.SET_CHAMPION for do in todo)
    }
    assert switching == {State.PROMOTING}
    assert moving == {State.FINALIZING}


def test_every_effect_is_used_and_every_guard_speaks() -> None:
    used = {do.effect for todo in machine.EFFECTS.values() for do in todo}
    assert used == set(Effect)
    assert all((row.guard.__doc__ or "").strip() for row in TABLE)


SLOTS_SEEN = [
    SlotState(),
    SlotState(identity="p1", url="u"),
    SlotState(NEW.digest, "p1", True, 0),
    SlotState(NEW.digest, "p2", True, 3),
    SlotState(OLD.digest, "p1", True, 0),
]
ROUTES: list[Slot | None] = [None, *SLOTS]
SEEN: list[Observation | None] = [None]
SEEN += [
    Observation(live, 4, {"blue": blue, "green": green}, mirrored)
    for live, blue, green, mirrored in itertools.product(ROUTES, SLOTS_SEEN, SLOTS_SEEN, ROUTES[::2])
]
CHOICES: dict[str, list[Any]] = {
    "seen": SEEN,
    "cancelled": [None, "someone (why)"],
    "analysis": [None, "pass", "fail", "inconclusive"],
    "champion": [1, 2],
    "back_confirmed": [False, True],
}
REST: dict[str, list[Any]] = {
    "entered_at": [0.0, -1e6],
    "verification": [None, "", "changed: weights.bin"],
    "approved": [None, "someone (why)"],
    "started": [False, True],
    "starts": [0, 1, 3],
    "start_at": [None, 0.0, -100.0],
    "champion_touched": [False, True],
    "champion_known": [False, True],
    "previous": [None, 1],
    "left_at": [None, -1e6],
    "identity": ["p1", None],
    "ready_at": [0.0, -100.0],
    "measure_due": [False, True],
}


def _check(state: State, facts: Facts) -> State:
    """Everything that must hold of one step; together the edges make what must hold of every path."""
    found, plan = step(state, facts), facts.plan
    moved = found.state is not state
    assert moved == (found.reason is not None), "a reason for every move"
    assert not (moved and found.effect)
    if found.effect is Effect.SWITCH:
        assert facts.serves, "the route only ever moves to a slot that is ready with the right digest"
    if found.effect is Effect.SWITCH_BACK:
        assert facts.old_serves
    if found.effect is Effect.STOP:
        assert not facts.on_mine, "the live slot is never stopped"
    if found.effect is Effect.STOP_OLD:
        assert facts.on_mine
    if found.effect is Effect.SET_CHAMPION:
        assert facts.on_mine
    if not moved:
        return state
    if found.state is State.AWAITING_APPROVAL:
        assert (state, facts.analysis) == (State.PRE_PROMOTION_ANALYSIS, "pass")
    if found.state is State.PROMOTING:
        usual = state is State.AWAITING_APPROVAL and facts.approved is not None
        assert usual or (plan.kind == "rollback" and state is State.STARTING_PREVIEW)
    if found.state is State.FINALIZING:
        usual = (state, facts.analysis) == (State.POST_PROMOTION_ANALYSIS, "pass")
        assert usual or (plan.kind == "rollback" and state is State.PROMOTING)
    if found.state is State.POST_PROMOTION_ANALYSIS:
        assert state is State.PROMOTING or (plan.kind == "adopt" and facts.verification == "")
    if state is State.VERIFYING and found.state is not State.ABORTING:
        assert facts.verification == ""
    if found.state is State.VERIFYING:
        assert plan.evidence == "pass" or plan.kind == "rollback"
    if found.state is State.SUCCEEDED:
        assert state is State.FINALIZING
        assert facts.on_mine
        assert facts.champion == NEW.model_version
    if found.state is State.ABORTED:
        assert facts.seen is not None
        assert not facts.on_mine
        assert facts.mine.empty or not facts.started
    if found.state is State.ROLLED_BACK:
        assert facts.seen is not None
        assert facts.seen.live == "blue"
        assert facts.mine.empty
        assert not (facts.champion_known and facts.champion == NEW.model_version)
    return found.state


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_step_from_every_state(kind: Kind) -> None:
    """All of what is seen, with the other facts drawn at random: 60 000 steps for each kind of rollout."""
    draw, states = random.Random(7), sorted(set(State) - TERMINAL)
    reached: set[State] = set()
    for values in itertools.product(*CHOICES.values()):
        chosen = dict(zip(CHOICES, values, strict=True)) | {name: draw.choice(of) for name, of in REST.items()}
        plan = _plan(kind, draw.choice(get_args(Verdict)), draw.choice([OLD, OLD, None]))
        facts = Facts(plan=plan, settings=SETTINGS, now=0.0, **({"entered_at": 0.0} | chosen))
        reached |= {_check(state, facts) for state in states}
    assert reached >= set(State) - {State.PENDING}


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.sampled_from(get_args(Kind)), st.data())
def test_no_walk_lasts_for_ever_or_succeeds_without_what_it_takes(kind: Kind, data: st.DataObject) -> None:
    state, plan, passed = State.PENDING, _plan(kind), []
    for _ in range(40):
        chosen = {name: data.draw(st.sampled_from(of)) for name, of in (CHOICES | REST).items()}
        facts = Facts(plan=plan, settings=SETTINGS, now=0.0, **chosen)
        reached = _check(state, facts)
        if reached is not state:
            passed.append(state)
        state = reached
        if state in TERMINAL:
            break
    assert len(passed) == len(set(passed)), "no state is entered twice"
    if state is State.SUCCEEDED and kind == "promote":
        assert passed == [*list(State)[:8]]


def test_after_a_restart_putting_in_order_gets_its_whole_time() -> None:
    late = Facts(plan=_plan(), settings=SETTINGS, now=1e6, entered_at=0, resumed_at=1e6)
    assert step(State.ROLLING_BACK, late).state is State.ROLLING_BACK
    assert step(State.AWAITING_APPROVAL, late).state is State.ABORTING
