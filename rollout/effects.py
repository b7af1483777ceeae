"""Each effect of the state machine, as one function: it does it through the target or the registry, and returns the
progress to save and a sentence for the record. All are safe to repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import IntegrityError, TargetError
from data.records import Item
from models import manifest
from rollout import analysis
from rollout.aliases import Registry
from rollout.analysis import Answers, Figures
from rollout.params import AnalysisPhase, RolloutParams
from rollout.questions import Ask
from rollout.record import Progress
from rollout.states import Effect, Plan, State
from rollout.targets import Sample, Slot, Target


@dataclass(frozen=True)
class World:
    """Where effects are done, and the rollout they are done for."""

    target: Target
    registry: Registry
    ask: Ask
    questions: Sequence[Item]  # `suite_items` a measurement, from the first in each phase
    settings: RolloutParams
    plan: Plan
    state: State
    progress: Progress
    now: float

    @property
    def phase(self) -> AnalysisPhase:
        """The analysis that the present state runs."""
        return phase_of(self.settings, self.state)


Done = tuple[Progress, str]


def phase_of(settings: RolloutParams, state: State) -> AnalysisPhase:
    """Before the switch, or after it."""
    return settings.before if state is State.PRE_PROMOTION_ANALYSIS else settings.after


def verify(world: World) -> Done:
    """A mismatch is a result, not a failed effect: it must not be tried again."""
    version = world.plan.version
    try:
        manifest.verify(version.folder)
        found = manifest.digest(version.folder)
    except IntegrityError as error:
        return world.progress.model_copy(update={"verification": str(error)}), str(error)
    if found != version.digest:
        why = f"{version.folder.name} holds manifest {found[:12]}, not the registered {version.digest[:12]}"
        return world.progress.model_copy(update={"verification": why}), why
    return world.progress.model_copy(update={"verification": ""}), f"every file matches manifest {found[:12]}"


def start(world: World) -> Done:
    world.target.start(world.plan.slot, world.plan.version)
    return world.progress, f"{world.plan.slot} starts version {world.plan.version.model_version}"


def mirror(world: World) -> Done:
    world.target.mirror(world.plan.slot, world.settings.mirror_percent)
    return world.progress, f"{world.settings.mirror_percent:g} % of requests are copied to {world.plan.slot}"


def unmirror(world: World) -> Done:
    world.target.mirror(None, 0)
    return world.progress, "no request is copied any more"


def measure(world: World) -> Done:
    """The first call of a phase only takes the counters to count from."""
    progress, plan, phase = world.progress, world.plan, world.phase
    before = world.state is State.PRE_PROMOTION_ANALYSIS
    compare = before and plan.from_version is not None
    own = world.target.sample(plan.slot)
    beside = world.target.sample(plan.from_slot) if compare else None
    due = {"measure_at": world.now + phase.interval_s, "last": (own, beside)}
    if progress.first is None:
        return progress.model_copy(update=due | {"first": (own, beside)}), "counting begins"
    last_own, last_beside = progress.last or progress.first
    own_answers = progress.own_answers + _questions(world, plan.slot, plan.version.digest)
    baseline_answers = progress.baseline_answers
    if compare and plan.from_version:
        baseline_answers += _questions(world, plan.from_slot, plan.from_version.digest)
    first_own, first_beside = progress.first

    def figures_of(last: Sample | None, answers: Answers, slot_first: Sample | None, now: Sample | None) -> Figures:
        bounds = analysis.p95_bounds(slot_first, now, phase.count)
        return analysis.window(last, now) | bounds | analysis.shares(answers)

    figures = figures_of(last_own, own_answers, first_own, own)
    if compare or baseline_answers.by_question:
        figures |= analysis.paired(phase, own_answers, baseline_answers)
    baseline = figures_of(last_beside, baseline_answers, first_beside, beside) if compare else progress.baseline
    why = "no version was live" if plan.from_version is None else "what was live before was not measured"
    taken = analysis.measure(phase, world.now, figures, baseline, why)
    kept: dict[str, object] = {"own_answers": own_answers, "baseline_answers": baseline_answers}
    if compare:  # what the live slot did over the whole phase: the measure for after the switch
        kept["baseline"] = figures_of(first_beside, baseline_answers, first_beside, beside)
    outcome = "; ".join(f"{name} {check.outcome} ({check.why})" for name, check in taken.checks.items())
    return progress.model_copy(update=due | kept | {"taken": (*progress.taken, taken)}), outcome


def switch(world: World) -> Done:
    generation = world.target.switch(world.plan.slot)
    return world.progress, f"generation {generation} routes to {world.plan.slot}"


def set_champion(world: World) -> Done:
    was = world.plan.from_version
    previous = was.model_version if was else world.plan.previous
    world.registry.set_aliases(world.plan.version.model_version, previous)
    return world.progress, f"champion is version {world.plan.version.model_version}, previous {previous}"


def stop_old(world: World) -> Done:
    world.target.stop(world.plan.from_slot, world.settings.timeouts.drain_s)
    return world.progress, f"{world.plan.from_slot} stops"


def start_old(world: World) -> Done:
    if world.plan.from_version is None:
        raise TargetError("there is no version to go back to")
    world.target.start(world.plan.from_slot, world.plan.from_version)
    return world.progress, f"{world.plan.from_slot} starts version {world.plan.from_version.model_version} again"


def switch_back(world: World) -> Done:
    generation = world.target.switch(world.plan.from_slot)
    return world.progress, f"generation {generation} routes to {world.plan.from_slot}"


def restore_champion(world: World) -> Done:
    if world.plan.from_version is None:
        raise TargetError("there is no version to go back to")
    world.registry.set_aliases(world.plan.from_version.model_version, world.plan.previous)
    return world.progress, f"champion is version {world.plan.from_version.model_version} again"


def stop(world: World) -> Done:
    world.target.stop(world.plan.slot, world.settings.timeouts.drain_s)
    return world.progress, f"{world.plan.slot} stops"


DO: Mapping[Effect, Callable[[World], Done]] = {
    Effect.VERIFY: verify,
    Effect.START: start,
    Effect.MIRROR: mirror,
    Effect.UNMIRROR: unmirror,
    Effect.MEASURE: measure,
    Effect.SWITCH: switch,
    Effect.SET_CHAMPION: set_champion,
    Effect.STOP_OLD: stop_old,
    Effect.START_OLD: start_old,
    Effect.SWITCH_BACK: switch_back,
    Effect.RESTORE_CHAMPION: restore_champion,
    Effect.STOP: stop,
}


def _questions(world: World, slot: Slot, digest: str) -> Answers:
    """This measurement's share of the phase's questions, asked of one slot.

    After the switch: of those that the old slot answered before it, so that there is something to compare with.
    """
    count, known = world.phase.suite_items, world.progress.baseline_answers.by_question
    paired = [item for item in world.questions if known.get(item.id) is not None]
    questions = paired if paired and world.state is State.POST_PROMOTION_ANALYSIS else world.questions
    begin = len(world.progress.taken) * count
    asked = questions[begin : begin + count]
    if not asked:
        return Answers()
    url = world.target.observe().slots[slot].url
    if url is None:
        return Answers.of(dict.fromkeys((item.id for item in asked), None))
    return world.ask(url, digest, asked)
