"""Rollouts under load, without the controller: the same calls to the target, in the same order, amid requests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import TargetError
from rehearsal.traffic import Request
from rollout.targets import Version, other
from rollout.targets.local import LocalTarget, wait_ready

READY_S = 120.0
STOP_S = 60.0


@dataclass(frozen=True)
class Switch:
    """One switch. Times are `time.time()`, in seconds."""

    digest: str  # of the version that became live
    commanded: float  # when the target was told to switch
    confirmed: float  # when the gateway had confirmed
    generation: int


def roll(target: LocalTarget, version: Version, mirror_s: float, grace_s: float) -> Switch:
    """Start `version` beside the live slot, mirror to it for `mirror_s`, switch; the old slot stops and is gone."""
    live = target.observe().live
    if live is None:
        raise TargetError("nothing is live: `local.up` first")
    fresh = other(live)
    target.start(fresh, version)
    wait_ready(target, fresh, version.digest, READY_S)
    target.mirror(fresh, 100)
    time.sleep(mirror_s)
    target.mirror(None, 0)
    switched = switch(target, version)
    target.stop(live, grace_s)
    until_s = time.monotonic() + STOP_S
    while not target.observe().slots[live].empty:
        if time.monotonic() > until_s:
            raise TargetError(f"{live} has not stopped after {STOP_S:.0f} s")
        time.sleep(0.1)
    return switched


def switch(target: LocalTarget, version: Version) -> Switch:
    """To the slot beside the live one, which serves `version` already."""
    live = target.observe().live
    commanded = time.time()
    generation = target.switch(other(live) if live else "blue")
    return Switch(version.digest, commanded, time.time(), generation)


def back_and_forth(
    target: LocalTarget, versions: Sequence[Version], goes_on: Callable[[], bool], rest_s: float, grace_s: float
) -> list[Switch]:
    """While `goes_on`: a rollout of the next version, then at once back and forth between both slots' versions.

    `versions[0]` is live at the start. Each round is a whole rollout (the other slot is empty before and after it);
    every second one has a rollback: a switch back to the old slot, which still runs, and forth again.
    """
    done: list[Switch] = []
    number = 0
    while goes_on():
        number += 1
        was, version = versions[(number - 1) % len(versions)], versions[number % len(versions)]
        if number % 2:
            live = target.observe().live
            fresh = other(live) if live else "blue"
            target.start(fresh, version)
            wait_ready(target, fresh, version.digest, READY_S)
            done.append(switch(target, version))
            time.sleep(rest_s)
            done.append(switch(target, was))
            time.sleep(rest_s)
        done.append(roll(target, version, rest_s, grace_s))
        time.sleep(rest_s)
    return done


def first_on_new_ms(switches: Sequence[Switch], requests: Sequence[Request]) -> list[float]:
    """For each switch: from the command to the first byte of the first answer of the version that became live."""
    found = []
    for number, one in enumerate(switches):
        until = switches[number + 1].commanded if number + 1 < len(switches) else float("inf")
        firsts = [
            request.first
            for request in requests
            if request.digest == one.digest and one.commanded <= request.began < until
        ]
        if firsts:
            found.append(1000 * (min(firsts) - one.commanded))
    return found


def late(switches: Sequence[Switch], requests: Sequence[Request]) -> list[Request]:
    """Requests that began after a confirmed switch and were answered by another version.

    One whose answer came after the next command to switch is left out: a client that was held up before it sent may
    have sent it on either side. `outdated` has no such doubt.
    """
    found = []
    for number, one in enumerate(switches):
        until = switches[number + 1].commanded if number + 1 < len(switches) else float("inf")
        found += [
            request
            for request in requests
            if one.confirmed < request.began and request.first < until and request.digest != one.digest
        ]
    return found


def outdated(switches: Sequence[Switch], access_log: Path) -> list[str]:
    """Lines of the gateway's log whose request came in after a confirmed switch and took an older route all the same.

    The log is written once a second. Its times are cut to the millisecond: a line may seem too early, never late.
    """
    found = []
    for text in access_log.read_text().splitlines():
        line = json.loads(text)
        began = datetime.fromisoformat(line["time"]).timestamp()
        newest = max((one.generation for one in switches if one.confirmed < began), default=0)
        if int(line["generation"]) < newest:
            found.append(text)
    return found
