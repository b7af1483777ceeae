"""What a rollout is and what is known of it at one moment: the state machine's only input. No side effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from core.records import Verdict
from rollout.params import RolloutParams
from rollout.targets import Observation, Slot, SlotState, Version


class State(StrEnum):
    """States of DESIGN.md, and `Halted`: neither way is safe by itself, so a person decides."""

    PENDING = "Pending"
    VERIFYING = "Verifying"
    STARTING_PREVIEW = "StartingPreview"
    PRE_PROMOTION_ANALYSIS = "PrePromotionAnalysis"
    AWAITING_APPROVAL = "AwaitingApproval"
    PROMOTING = "Promoting"
    POST_PROMOTION_ANALYSIS = "PostPromotionAnalysis"
    FINALIZING = "Finalizing"
    ABORTING = "Aborting"
    ROLLING_BACK = "RollingBack"
    SUCCEEDED = "Succeeded"
    ABORTED = "Aborted"
    ROLLED_BACK = "RolledBack"
    HALTED = "Halted"


TERMINAL = frozenset({State.SUCCEEDED, State.ABORTED, State.ROLLED_BACK, State.HALTED})

# promote: the usual way. rollback: a person goes back to a former champion, without analysis. adopt: the version is
# live already, but not champion (a rollout that halted, a route moved manually): watch it, then make it champion.
Kind = Literal["promote", "rollback", "adopt"]


class Effect(StrEnum):
    """What the controller does to the world, one at a time, each written down as an intent first."""

    VERIFY = "verify"  # hash every file of the version again
    START = "start"
    MIRROR = "mirror"
    UNMIRROR = "unmirror"
    MEASURE = "measure"  # take one measurement of the analysis
    SWITCH = "switch"
    SET_CHAMPION = "set_champion"  # and `previous` to the version that was champion
    STOP_OLD = "stop_old"
    START_OLD = "start_old"
    SWITCH_BACK = "switch_back"
    RESTORE_CHAMPION = "restore_champion"
    STOP = "stop"  # the rollout's own slot


@dataclass(frozen=True)
class Plan:
    """What a rollout is to do; fixed when it is created."""

    kind: Kind
    version: Version
    slot: Slot  # where `version` runs
    from_slot: Slot  # the slot beside it
    from_version: Version | None  # what was live and champion; None: nothing was live yet
    evidence: Verdict  # the registry's word on the version's own evidence
    previous: int | None = None  # version number of alias `previous` when the rollout began, to restore it
    override: str | None = None  # why a person rolls it out without a pass


@dataclass(frozen=True)
class Facts:
    """Everything a transition may look at. `None` means: not known yet, or not to be had now."""

    plan: Plan
    settings: RolloutParams
    now: float  # UNIX time, seconds, as are all times here
    entered_at: float  # of the present state
    resumed_at: float = 0.0  # when this controller took the rollout up
    seen: Observation | None = None  # None: the target does not answer
    cancelled: str | None = None  # who and why
    approved: str | None = None
    verification: str | None = None  # "" when every file matches, else what does not
    analysis: Verdict | None = None  # of the present state's phase; None while it runs
    analysis_why: str = ""
    measure_due: bool = False
    identity: str | None = None  # of the process that became ready in `slot`
    ready_at: float | None = None  # when the slot was last seen ready with the right digest
    left_at: float | None = None  # when the slot to drain was first seen without the route
    started: bool = False  # an intent to start `slot` was written
    starts: int = 0  # so often it was started
    start_at: float | None = None  # when a slot was last started
    back_confirmed: bool = False  # a switch back was ordered and the gateway confirmed it
    champion_touched: bool = False  # an intent to move `champion` was written
    champion: int | None = None  # version number; read only in the states that need it
    champion_known: bool = False
    previous: int | None = None

    @property
    def mine(self) -> SlotState:
        """The slot that runs the rollout's version."""
        return self.seen.slots[self.plan.slot] if self.seen else SlotState()

    @property
    def old(self) -> SlotState:
        """The slot beside it."""
        return self.seen.slots[self.plan.from_slot] if self.seen else SlotState()

    @property
    def on_mine(self) -> bool:
        """Users' requests go to the rollout's slot."""
        return self.seen is not None and self.seen.live == self.plan.slot

    @property
    def serves(self) -> bool:
        """The rollout's slot is ready with the rollout's digest."""
        return self.mine.ready and self.mine.digest == self.plan.version.digest

    @property
    def old_serves(self) -> bool:
        """The slot beside it is ready with the version to go back to."""
        was = self.plan.from_version
        return was is not None and self.old.ready and self.old.digest == was.digest


def deadlines_s(settings: RolloutParams, plan: Plan | None = None) -> Mapping[State, float]:
    """Seconds each waiting state may last; longer where the plan's versions are large."""
    limit, back = settings.timeouts, plan.from_version if plan else None
    version_bytes, back_bytes = plan.version.bytes if plan else 0, back.bytes if back else 0
    return {
        State.PENDING: limit.finish_s,
        State.VERIFYING: limit.verify_limit_s(version_bytes),
        State.STARTING_PREVIEW: limit.ready_limit_s(version_bytes),
        State.PRE_PROMOTION_ANALYSIS: settings.before.deadline_s(limit.answer_s),
        State.AWAITING_APPROVAL: limit.approval_s,
        State.PROMOTING: limit.switch_s,
        State.POST_PROMOTION_ANALYSIS: settings.after.deadline_s(limit.answer_s),
        State.FINALIZING: limit.finish_s + limit.drain_s,
        State.ABORTING: limit.finish_s + limit.drain_s,
        State.ROLLING_BACK: limit.finish_s + limit.ready_limit_s(back_bytes) + limit.drain_s,
    }
