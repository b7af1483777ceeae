"""From a request ("version 7", "back to previous") and what is observed to a plan; refuses what is unsafe."""

from __future__ import annotations

from core.errors import RegistryError, RolloutError
from rollout.aliases import CHAMPION, PREVIOUS, Registered, Registry, fetched
from rollout.states import Kind, Plan
from rollout.targets import Observation, Target, Version, other


class AlreadyLiveError(RolloutError):
    """The version is live and champion: there is nothing to do. A second pipeline for one approval ends here."""


def promote(model_name: str, number: int, registry: Registry, target: Target, override: str | None = None) -> Plan:
    """Plan for version `number`: to the slot beside the live one, or `adopt` when it is live but not champion.

    Raises AlreadyLiveError when it is live and champion, RolloutError when its evidence is no pass and `override`
    (a reason) is None, or when the live slot serves what the registry does not know.
    """
    wanted = registry.version(number)
    if wanted.evidence != "pass" and not override:
        raise RolloutError(
            f"version {number} of {model_name} has no passing evidence ({wanted.why}): choose another, or say "
            f'why it must go live all the same (--override "reason"; the reason is recorded)'
        )
    return _plan("promote", model_name, wanted, registry, target, override)


def rollback(model_name: str, registry: Registry, target: Target) -> Plan:
    """Plan back to `previous`, without analysis: it was champion before. Raises RolloutError when there is none."""
    number = registry.alias(PREVIOUS)
    if number is None:
        raise RolloutError(f"{model_name} has no version with alias '{PREVIOUS}': there is nothing to go back to")
    return _plan("rollback", model_name, registry.version(number), registry, target, None)


def refuse_live(model_name: str, wanted: Registered, seen: Observation, champion: int | None) -> None:
    """Raises AlreadyLiveError when `wanted` is live and champion."""
    if seen.live and seen.slots[seen.live].digest == wanted.digest and champion == wanted.number:
        raise AlreadyLiveError(f"version {wanted.number} of {model_name} is live and champion already")


def _plan(
    kind: Kind, model_name: str, wanted: Registered, registry: Registry, target: Target, override: str | None
) -> Plan:
    def version(of: Registered) -> Version:
        return fetched(model_name, of, registry)

    seen, champion = target.observe(), registry.alias(CHAMPION)
    live = seen.slots[seen.live] if seen.live else None
    was: Registered | None = None
    if live and live.digest == wanted.digest and seen.live:
        refuse_live(model_name, wanted, seen, champion)
        was = registry.version(champion) if champion is not None else None
        kind, slot = "adopt", seen.live
    else:
        slot = other(seen.live) if seen.live else "blue"
        if live and live.digest:
            was = registry.by_digest(live.digest)
            if was is None:
                raise RegistryError(
                    f"{seen.live} serves manifest {live.digest[:12]}, which {model_name} has no version for: "
                    "register it first, or there would be nothing to go back to"
                )
        elif seen.live and champion is not None:  # the live slot is down: the champion is what should be there
            was = registry.version(champion)
    return Plan(
        kind=kind,
        version=version(wanted),
        slot=slot,
        from_slot=other(slot),
        from_version=version(was) if was else None,
        evidence=wanted.evidence,
        override=override,
        previous=registry.alias(PREVIOUS),
    )
