"""The controller killed (SIGKILL) at every transition and at every side effect, in turn.

The controller runs in a forked process that kills itself at its n-th moment: before and after every transition,
and before, within (done, not yet recorded) and after every effect. Then another controller takes the rollout up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rollout.record import Rollout
from rollout.states import State
from tests.parts.memory_target import Script
from tests.rollout.dying import dies
from tests.rollout.stage import Stage, settings

SCENARIOS: dict[str, State] = {
    "good": State.SUCCEEDED,
    "good, old slot stopped": State.SUCCEEDED,
    "degrades after the switch": State.ROLLED_BACK,
    "errors in the preview": State.ABORTED,
    "wrong answers after the switch": State.ROLLED_BACK,
}


def _stage(root: Path, scenario: str) -> Stage:
    changes: dict[str, Any] = {}
    if scenario == "good, old slot stopped":
        changes["settings"] = settings(keep_previous=False)
    if scenario == "wrong answers after the switch":
        changes["wrong_live"] = (2,)
    stage = Stage(root, **changes)
    bad = frozenset({stage.digest(2)})
    if scenario == "degrades after the switch":
        stage.target.script = Script(errors_live=bad)
    if scenario == "errors in the preview":
        stage.target.script = Script(errors=bad)
    return stage


def _carry_out(root: Path, scenario: str, rollout: Rollout, moment: Callable[[], None]) -> None:
    _stage(root, scenario).controller(lambda _: moment()).run(rollout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_moment_it_ends_well_after_a_restart(quick_disk: Path, scenario: str) -> None:
    ends: set[State] = set()
    at = 0
    while True:
        root = quick_disk / str(at)
        root.mkdir()
        stage = _stage(root, scenario)
        stage.put_live()
        rollout = stage.create()
        killed = dies(at, partial(_carry_out, root, scenario, rollout))
        ended = stage.controller().run(rollout)
        _holds(stage, ended, f"{scenario}, killed at moment {at}")
        ends.add(ended.state)
        stage.record.close_file()
        shutil.rmtree(root)
        if not killed:
            break
        at += 1
    assert at > 25, "it was killed at many moments"
    assert SCENARIOS[scenario] in ends
    assert ends <= {SCENARIOS[scenario], State.ROLLED_BACK, State.ABORTED}


def _holds(stage: Stage, ended: Rollout, when: str) -> None:
    assert ended.state in (State.SUCCEEDED, State.ABORTED, State.ROLLED_BACK), f"{when}: {ended.state}, {ended.why}"
    seen = stage.target.observe()
    assert seen.live is not None, when
    assert seen.mirrored is None, when
    live = seen.slots[seen.live]
    number = 2 if ended.state is State.SUCCEEDED else 1
    assert live.ready, when
    assert live.digest == stage.digest(number), when
    assert stage.registry.alias("champion") == number, when
    other = seen.slots["green" if seen.live == "blue" else "blue"]
    if ended.state is not State.SUCCEEDED or not stage.settings.rollout.keep_previous:
        assert other.empty, f"{when}: a process was left"
    stage.record.verify_chain()
    assert stage.record.unfinished("production") is None
