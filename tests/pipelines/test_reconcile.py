"""`python -m pipelines.reconcile` on parts that are files: what was lost, left behind or changed manually."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from approval import trigger
from approval.standing import Pipelines as Where
from core.errors import ConfigError
from pipelines import reconcile
from rollout import planning, repair
from rollout.record import Rollout
from rollout.session import Session
from rollout.states import State
from tests.approval.setup import Pipelines, approve, down
from tests.parts.memory_target import Script
from tests.rollout.stage import QUICK, WHO, Stage, settings


@dataclass
class Place:
    """One stage, one GitLab, and the command that a schedule runs."""

    stage: Stage
    pipelines: Pipelines = field(default_factory=Pipelines)

    def run(self, *argv: str, connect: Any = None) -> tuple[int, dict[str, str]]:
        """Exit code, and what was said of each subject."""
        lines: list[str] = []

        def opened(options: argparse.Namespace) -> Session:
            stage = self.stage
            return Session(
                stage.settings, stage.record, stage.target, stage.registry, WHO, stage.ask, options.json, lines.append
            )

        def where() -> Where:
            return self.pipelines

        code = reconcile.main([*argv, "--json"], opened=opened, pipelines=connect or where)
        found = [json.loads(line) for line in lines]
        return code, {line["subject"]: line["what"] for line in found if "subject" in line}

    @property
    def triggered(self) -> list[int]:
        return [one.model_version for one in self.pipelines.taken]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(repair, "QUIET_S", 0.0)
    stage = Stage(tmp_path)
    stage.put_live()
    return Place(stage)


def test_nothing_to_do_says_so(place: Place) -> None:
    assert place.run() == (0, {})
    approve(place.stage, 1)
    assert place.run() == (0, {"approval": "version 1 is champion"})
    assert place.triggered == []


def test_a_lost_webhook_is_made_good_exactly_once(place: Place) -> None:
    approve(place.stage, 2)
    for _ in range(3):
        code, said = place.run()
        assert code == 0
        assert "no rollout began yet" in said["approval"]
    assert place.triggered == [2]
    place.stage.promote()
    assert place.run() == (0, {"approval": "version 2 is champion"})
    assert place.triggered == [2]


@pytest.mark.parametrize(
    ("script", "end"), [("errors", State.ABORTED), ("errors_live", State.ROLLED_BACK)], ids=["aborted", "rolled back"]
)
def test_an_approval_that_had_its_rollout_is_not_triggered_again(tmp_path: Path, script: str, end: State) -> None:
    stage = Stage(tmp_path)
    stage.put_live()
    place = Place(stage)
    approve(stage, 2)
    place.run()
    bad: Any = {script: frozenset({stage.digest(2)})}
    stage.target.script = Script(**bad)
    assert stage.promote().state is end
    for _ in range(2):
        code, said = place.run()
        assert code == 0
        assert f"ended {end}" in said["approval"]
        assert "approve it again" in said["approval"]
    assert place.triggered == [2]
    approve(stage, None)
    assert place.run() == (0, {})
    approve(stage, 2)  # a new act, though no webhook said so
    place.run()
    assert place.triggered == [2, 2]


def test_a_rollback_by_a_person_is_not_undone(place: Place) -> None:
    approve(place.stage, 2)
    place.run()
    place.stage.promote()
    plan = planning.rollback("assay", place.stage.registry, place.stage.target)
    back = place.stage.record.create("production", plan, WHO, "users complain", time.time())
    assert place.stage.controller().run(back).state is State.SUCCEEDED
    for _ in range(2):
        code, said = place.run()
        assert (code, place.triggered) == (0, [2])
        assert "ended Succeeded" in said["approval"]


def test_a_first_run_does_not_repeat_an_old_rollout(place: Place) -> None:
    """Before the relay was set up, version 2 was approved, promoted manually and rolled back."""
    approve(place.stage, 2)
    place.stage.target.script = Script(errors_live=frozenset({place.stage.digest(2)}))
    place.stage.promote()
    code, said = place.run()
    assert (code, place.triggered) == (0, [])
    assert "ended RolledBack" in said["approval"]


def test_a_pipeline_that_never_began_its_rollout_is_a_problem(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    approve(place.stage, 2)
    place.run()
    monkeypatch.setattr(trigger, "PIPELINE_S", -1.0)
    code, said = place.run()
    assert (code, place.triggered) == (1, [2])
    assert "look at the pipeline" in said["approval"]


def test_gitlab_down_or_not_set_up_is_reported_and_made_good_later(place: Place) -> None:
    def missing() -> Where:
        raise ConfigError("no GitLab to trigger")

    approve(place.stage, 2)
    assert place.run(connect=missing) == (1, {"approval": "no GitLab to trigger"})
    place.pipelines.errors = [down(lasting=True)]
    code, said = place.run()
    assert code == 1
    assert "GitLab is down" in said["approval"]
    assert place.run()[0] == 0
    assert place.triggered == [2]


def test_evidence_that_does_not_pass_is_a_problem_and_no_pipeline(tmp_path: Path) -> None:
    stage = Stage(tmp_path, evidence="fail")
    stage.put_live()
    place = Place(stage)
    approve(stage, 2)
    for _ in range(2):
        code, said = place.run()
        assert (code, place.triggered) == (1, [])
        assert "no passing evidence" in said["approval"]


def test_dry_only_tells(place: Place) -> None:
    approve(place.stage, 2)
    place.stage.promote()
    place.stage.registry.set_aliases(1, 2)
    approve(place.stage, 1)
    events = len(place.stage.record.events())
    code, said = place.run("--dry")
    assert code == 1
    assert said["champion"] == "is version 1, not version 2: changed manually"
    assert said["approval"] == "version 1 is approved and was not triggered: would be"
    assert len(place.stage.record.events()) == events
    assert place.triggered == []


def test_a_champion_changed_manually_is_reported_recorded_once_and_not_moved_back(place: Place) -> None:
    place.stage.promote()
    place.stage.registry.set_aliases(1, 2)
    for _ in range(2):
        code, said = place.run()
        assert code == 1
        assert "champion is version 1, not version 2" in said["champion"]
    assert place.stage.registry.alias("champion") == 1
    assert len(place.stage.record.events("kind = 'alias_moved'")) == 1


def test_a_champion_changed_manually_to_what_is_approved_does_not_count_as_its_rollout(place: Place) -> None:
    approve(place.stage, 2)
    place.stage.promote()
    place.stage.registry.set_aliases(1, 2)
    approve(place.stage, 1)
    place.run()
    assert place.triggered == [1]


def killed(stage: Stage, rollout: Rollout, moment: str) -> None:
    """A controller that carries the rollout to `moment` and is killed there."""
    child = os.fork()
    if child == 0:

        def hook(now: str) -> None:
            if now == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            Stage(stage.root, settings=stage.settings).controller(hook).run(rollout)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize("moment", ["half:start", "after:Promoting", "half:switch", "half:set_champion"])
def test_a_rollout_whose_controller_was_killed_is_carried_to_its_end(place: Place, moment: str) -> None:
    approve(place.stage, 2)
    rollout = place.stage.create()
    killed(place.stage, rollout, moment)
    code, said = place.run()
    assert code == 0
    assert "resumed, now Succeeded" in said["rollout"]
    assert said["approval"] == "version 2 is champion"
    assert place.triggered == []
    place.stage.record.verify_chain()


def test_it_is_carried_only_up_to_a_person_s_approval(place: Place) -> None:
    place.stage.settings = settings(timeouts={"approval_s": 30})
    killed(place.stage, place.stage.create(approve=False), "half:start")
    code, said = place.run()
    assert code == 0
    assert "resumed, now AwaitingApproval" in said["rollout"]
    code, said = place.run()
    assert code == 0
    assert "awaits a person's approval" in said["rollout"]
    assert place.stage.target.observe().live == "blue"


def test_a_preview_that_nobody_came_back_for_is_ended(place: Place) -> None:
    place.stage.settings = settings(timeouts={"approval_s": 0.2})
    rollout = place.stage.create(approve=False)
    place.stage.controller().run(rollout, State.AWAITING_APPROVAL)
    time.sleep(0.3)
    code, said = place.run()
    assert code == 0
    assert "resumed, now Aborted" in said["rollout"]
    assert place.stage.target.observe().slots["green"].empty


def test_a_rollout_that_another_process_runs_or_that_just_began_is_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = place.stage.create()
    said: list[dict[str, str]] = []
    place.stage.controller(lambda moment: said.append(place.run()[1]) if moment == "after:Promoting" else None).run(
        rollout
    )
    assert "run by another process" in said[0]["rollout"]
    monkeypatch.setattr(repair, "QUIET_S", 30.0)
    place.stage.registry.set_aliases(1, None)
    fresh = place.stage.create()
    assert "its record is fresh" in place.run()[1]["rollout"]
    assert place.stage.record.get(fresh.id).state is State.PENDING


def test_a_part_that_does_not_answer_keeps_no_other_from_being_looked_at(place: Place) -> None:
    killed(place.stage, place.stage.create(), "half:start")
    place.stage.registry.down = True
    place.stage.settings = settings(timeouts=QUICK["timeouts"] | {"finish_s": 0.2, "drain_s": 0.1})
    code, said = place.run()
    assert code == 1
    assert said["champion"] == said["approval"] == "the registry does not answer"
    assert "rollout" in said
