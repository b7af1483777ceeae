"""What an approval is, and what one look at the registry makes of those already known. No side effects.

A person approves by setting alias `approved` in MLflow. MLflow keeps neither who did it nor when, so an approval is
known by what can be seen of the act:

- the alias points at another version than at the last look: an approval;
- a signed webhook says that it was set again, after the last approval of the same version had come to its end (its
  rollout ended, or it was refused): an approval too, so clicking again is how a person asks for another try;
- everything else is the approval that is known already: a delivery that came twice, late or out of order, a
  second click while the rollout is under way, and whatever `reconcile` sees of an alias that did not move.

An approval is for one (model, version, digest). It is triggered once; its rollout is every promote of that digest
that began since, whoever started it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.errors import RolloutError
from rollout.aliases import APPROVED, CHAMPION, Registered, Registry
from rollout.record import Rollout

PIPELINE_S = 600.0  # from the trigger to the rollout's begin: a pipeline may wait for a runner this long


class Standing(StrEnum):
    """Where an approval stands."""

    WANTED = "wanted"  # to be triggered
    TRIGGERED = "triggered"  # GitLab said so
    SATISFIED = "satisfied"  # nothing to trigger: champion already, or a person's own `promote` carries it out
    REFUSED = "refused"  # its evidence is no pass, or its files are not those that were approved
    WITHDRAWN = "withdrawn"  # the alias left before it was triggered


@dataclass(frozen=True)
class Approval:
    """One setting of the alias, as far as it is known. Times are UNIX times in seconds."""

    id: str
    environment: str
    model_name: str
    model_version: int
    digest: str
    source: str  # "webhook <delivery id>", "reconcile"
    seen_at: float
    since: float  # rollouts of `digest` that began since then are this approval's
    standing: Standing
    why: str
    changed_at: float  # when it came to `standing`
    attempts: int = 0
    tried_at: float | None = None  # a trigger began; without an outcome it may or may not have reached GitLab
    answered_at: float | None = None
    pipeline_url: str | None = None
    left_at: float | None = None  # the alias was seen elsewhere

    @property
    def interrupted(self) -> bool:
        """A trigger was begun, and its process ended before it recorded an outcome."""
        return self.tried_at is not None and (self.answered_at is None or self.answered_at < self.tried_at)


@dataclass(frozen=True)
class Seen:
    """One look at the registry. `set_at`: MLflow's signed time of the act, when a webhook named this version."""

    environment: str
    model_name: str
    approved: Registered | None
    champion: int | None
    source: str
    at: float
    set_at: float | None = None


@dataclass(frozen=True)
class Judgement:
    """`known`: the approval goes on as it is. Otherwise a new one with `standing`; None: nothing is approved."""

    known: bool
    standing: Standing | None
    why: str
    since: float = 0.0


class PipelineError(RolloutError):
    """The pipeline could not be started. `lasting`: trying again soon changes nothing."""

    def __init__(self, message: str, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


class Pipelines(Protocol):
    """Where a rollout runs."""

    def trigger(self, approval: Approval) -> str:
        """Start a pipeline for it and return its URL. Raises PipelineError."""
        ...


def look(registry: Registry, environment: str, model_name: str, source: str, at: float) -> Seen:
    """What the registry says now. Raises RegistryError when it does not answer."""
    number = registry.alias(APPROVED)
    approved = registry.version(number) if number is not None else None
    return Seen(environment, model_name, approved, registry.alias(CHAMPION), source, at)


def ended_at(approval: Approval, rollout: Rollout | None) -> float | None:
    """When everything that it asked for was over; None while it is not. `rollout`: the newest of its own."""
    if approval.standing is Standing.WANTED:
        return None
    if rollout is not None:
        return rollout.entered_at if rollout.finished else None
    return approval.changed_at + (PIPELINE_S if approval.standing is Standing.TRIGGERED else 0)


def judge(seen: Seen, last: Approval | None, last_rollout: Rollout | None, rollouts: list[Rollout]) -> Judgement:
    """What `seen` means. `last` is the newest approval, `last_rollout` the newest of its own rollouts, `rollouts`
    all promotes of the approved digest, oldest first."""
    found = seen.approved
    if found is None:
        return Judgement(False, None, f"alias '{APPROVED}' is not set")
    since = min(seen.set_at, seen.at) if seen.set_at is not None else _last_look(last)
    if last is not None and last.model_version == found.number and last.left_at is None:
        end = ended_at(last, last_rollout)
        if seen.set_at is None or end is None or seen.set_at <= end:  # the act that is known already
            if last.digest != found.digest:
                why = (
                    f"its manifest is {found.digest[:12]} now, but {last.digest[:12]} was approved: look at version "
                    f"{found.number} again, and approve it again"
                )
                return Judgement(False, Standing.REFUSED, why, since)
            if last.standing is Standing.WANTED:
                standing, why, _ = _standing(found, seen.champion, rollouts, last.since)
                return Judgement(True, standing, last.why if standing is Standing.WANTED else why)
            return Judgement(True, last.standing, last.why)
    standing, why, since = _standing(found, seen.champion, rollouts, since)
    return Judgement(False, standing, why, since)


def _last_look(last: Approval | None) -> float:
    """The alias was set after this, as far as is known."""
    if last is None:
        return 0.0
    return last.seen_at if last.left_at is None else last.left_at


def _standing(
    found: Registered, champion: int | None, rollouts: list[Rollout], since: float
) -> tuple[Standing, str, float]:
    """Where an approval that was not triggered yet stands, why, and since when rollouts are its own."""
    if champion == found.number:
        return Standing.SATISFIED, "it is champion already", since
    for rollout in reversed(rollouts):
        if rollout.created_at >= since or not rollout.finished:
            return Standing.SATISFIED, f"rollout {rollout.id} carries it out already", min(since, rollout.created_at)
    if found.evidence != "pass":
        why = f"no passing evidence ({found.why}): choose another version, or approve it again when it passes"
        return Standing.REFUSED, why, since
    return Standing.WANTED, "to be triggered", since
