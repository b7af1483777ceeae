"""Runs the state machine against the world: look, step, write the intent, do the effect, write what came of it.

It keeps nothing in memory that matters. Killed at any point, the next controller looks at what is there and goes on
or rolls back; a lock file, which the kernel frees with the process, keeps two of them apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from core.errors import AssayError, RegistryError, RolloutError, TargetError
from core.records import Verdict
from rollout import aliases, analysis, effects, locks, machine, questions
from rollout.aliases import CHAMPION, PREVIOUS, Registry
from rollout.effects import World
from rollout.params import RolloutSettings
from rollout.questions import Ask
from rollout.record import Progress, Rollout, RolloutRecord, Who
from rollout.states import Effect, Facts, State
from rollout.targets import Observation, Target

PHASES = (State.PRE_PROMOTION_ANALYSIS, State.POST_PROMOTION_ANALYSIS)
STARTS = (Effect.START, Effect.START_OLD)
FAILED_PAUSE_S = 2.0  # after an effect that failed, before it is tried again

Report = Callable[[Rollout], None]
Hook = Callable[[str], None]  # called with "<moment>:<what>" around every write and every effect


class Controller:
    """One rollout at a time. `report` gets every new state; `hook` is where tests kill the process."""

    def __init__(
        self,
        record: RolloutRecord,
        target: Target,
        registry: Registry,
        settings: RolloutSettings,
        who: Who,
        ask: Ask,
        report: Report = lambda rollout: None,
        hook: Hook = lambda moment: None,
    ) -> None:
        self._record, self._target, self._registry, self._who = record, target, registry, who
        self._settings, self._ask, self._report, self._hook = settings.rollout, ask, report, hook
        most = max(phase.suite_items * phase.count for phase in (self._settings.before, self._settings.after))
        self._draw_questions = cache(lambda: questions.items(settings, most))  # takes a second, and few commands ask
        self._ready_at = self._resumed_at = time.time()

    def run(self, rollout: Rollout, until: State | None = None) -> Rollout:
        """Run `rollout` to a terminal state, or only to `until`, where another process will resume it.

        Raises RolloutError when another process runs it.
        """
        with self._only_one(rollout):
            rollout = self._record.get(rollout.id)  # it may have moved while we waited for the lock
            self._ready_at = self._resumed_at = time.time()
            self._record.close_interrupted(rollout, self._who, self._resumed_at)
            self._report(rollout)
            while not rollout.finished and rollout.state is not until:
                rollout = self._turn(rollout)
            return rollout

    def _turn(self, rollout: Rollout) -> Rollout:
        facts, rollout = self._look(rollout)
        step = machine.step(rollout.state, facts)
        if step.state is not rollout.state:
            return self._move(rollout, facts, step.state, step.reason or "")
        if step.effect is not None:
            return self._do(rollout, step.effect)
        time.sleep(self._settings.poll_s)
        return rollout

    def _move(self, rollout: Rollout, facts: Facts, state: State, why: str) -> Rollout:
        was = rollout.state
        changes: dict[str, object] = {"left_at": None}
        if state in PHASES:
            changes |= {"first": None, "last": None, "taken": (), "measure_at": None}
            changes |= {"own_answers": analysis.Answers()}
        if was in (State.VERIFYING, State.STARTING_PREVIEW):
            changes["identity"] = facts.mine.identity
        self._hook(f"before:{state}")
        progress = rollout.progress.model_copy(update=changes)
        rollout = self._record.move(rollout, state, why, progress, self._who, time.time())
        self._ready_at = time.time()
        self._hook(f"after:{state}")
        self._report(rollout)
        return rollout

    def _do(self, rollout: Rollout, effect: Effect) -> Rollout:
        begun = time.time()
        intent = self._record.intend(rollout, effect, begun)
        self._hook(f"before:{effect}")
        world = World(
            target=self._target,
            registry=self._registry,
            ask=self._ask,
            questions=self._draw_questions() if effect is Effect.MEASURE else (),
            settings=self._settings,
            plan=rollout.plan,
            state=rollout.state,
            progress=rollout.progress,
            now=time.time(),
        )
        try:
            progress, outcome = effects.DO[effect](world)
        except AssayError as error:
            rollout = self._record.close(
                rollout, rollout.progress, intent, str(error), self._who, time.time(), ok=False
            )
            time.sleep(min(FAILED_PAUSE_S, 4 * self._settings.poll_s))
            return rollout
        self._hook(f"half:{effect}")
        self._ready_at += time.time() - begun  # not observed meanwhile
        rollout = self._record.close(rollout, progress, intent, outcome, self._who, time.time())
        self._hook(f"after:{effect}")
        return rollout

    def _look(self, rollout: Rollout) -> tuple[Facts, Rollout]:
        """Everything the machine may know now; saves when a slot was first seen without the route."""
        seen, now, progress = self._observe(), time.time(), rollout.progress
        drains = rollout.plan.from_slot if rollout.state is State.FINALIZING else rollout.plan.slot
        if (
            rollout.state in machine.RESUMED
            and seen is not None
            and (seen.live == drains) != (progress.left_at is None)
        ):
            left_at = None if seen.live == drains else now
            rollout = self._record.save_progress(rollout, progress.model_copy(update={"left_at": left_at}))
            progress = rollout.progress
        intended = self._record.intended(rollout)
        verdict, why = self._verdict(rollout.state, progress)
        facts = Facts(
            plan=rollout.plan,
            settings=self._settings,
            now=now,
            entered_at=rollout.entered_at,
            resumed_at=self._resumed_at,
            seen=seen,
            cancelled=self._record.asked(rollout, "cancel"),
            approved=self._record.asked(rollout, "approve"),
            verification=progress.verification,
            analysis=verdict,
            analysis_why=why,
            measure_due=verdict is None and (progress.measure_at is None or now >= progress.measure_at),
            identity=progress.identity,
            ready_at=self._ready_at,
            left_at=progress.left_at,
            started=Effect.START in intended,
            starts=intended[Effect.START].succeeded if Effect.START in intended else 0,
            start_at=max((found.last_at or 0.0 for one in STARTS if (found := intended.get(one))), default=None),
            back_confirmed=Effect.SWITCH_BACK in intended and intended[Effect.SWITCH_BACK].succeeded > 0,
            champion_touched=Effect.SET_CHAMPION in intended,
        )
        if facts.serves:
            self._ready_at = now
            facts = replace(facts, ready_at=now)
        if rollout.state in (State.FINALIZING, State.ROLLING_BACK):
            facts = self._with_aliases(facts, rollout)
        return facts, rollout

    def _observe(self) -> Observation | None:
        try:
            return self._target.observe()
        except TargetError:
            return None  # not known now; the state's deadline bounds how long

    def _with_aliases(self, facts: Facts, rollout: Rollout) -> Facts:
        try:
            champion, previous = self._registry.alias(CHAMPION), self._registry.alias(PREVIOUS)
        except RegistryError:
            return facts
        if not facts.champion_touched:
            aliases.report_manual_change(
                self._record, rollout.environment, rollout.plan.version.model_name, champion, self._who
            )
        return replace(facts, champion=champion, previous=previous, champion_known=True)

    def _verdict(self, state: State, progress: Progress) -> tuple[Verdict | None, str]:
        if state not in PHASES:
            return None, ""
        return analysis.verdict(effects.phase_of(self._settings, state), progress.taken)

    @contextmanager
    def _only_one(self, rollout: Rollout) -> Iterator[None]:
        with locks.try_lock(locks.controller(self._record, rollout.environment)) as locked:
            if not locked:
                raise RolloutError(f"another process runs {rollout.id}: watch it with `python -m pipelines.status`")
            yield
