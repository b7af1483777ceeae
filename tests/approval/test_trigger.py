"""From a wanted approval to one pipeline: GitLab down, killed in between, another rollout in the way."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from approval import trigger
from approval.ledger import ApprovalLedger
from approval.standing import Approval, Standing
from core.errors import RegistryError
from rollout.states import State
from tests.approval.setup import Pipelines, Setup, approve, down
from tests.rollout.stage import WHO, Stage


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    stage = Stage(tmp_path)
    stage.put_live()
    return Setup(stage)


def carry(setup: Setup, pipelines: object, sleep: object = None) -> Approval | None:
    def pause(seconds: float) -> None:
        waits.append(seconds)
        if callable(sleep):
            sleep()

    waits: list[float] = []
    found = trigger.trigger_wanted(
        setup.record, setup.stage.registry, pipelines, "production", "assay", WHO, "reconcile", sleep=pause  # type: ignore[arg-type]  # each test's own pipelines
    )  # fmt: skip
    assert waits == sorted(waits)
    return found


def test_it_is_triggered_once_whoever_asks_again(setup: Setup) -> None:
    approve(setup.stage, 2)
    pipelines = Pipelines()
    for _ in range(3):
        found = carry(setup, pipelines)
        assert found is not None
        assert (found.standing, found.pipeline_url) == (Standing.TRIGGERED, "https://gitlab.example/pipelines/1")
    [taken] = pipelines.taken
    assert (taken.model_name, taken.model_version, taken.digest) == ("assay", 2, setup.stage.digest(2))
    assert setup.kinds() == ["approved", "trigger"]
    assert setup.record.events("kind = 'trigger'")[0].pipeline_url == "https://gitlab.example/pipelines/1"


def test_nothing_is_approved_nothing_is_triggered(setup: Setup) -> None:
    pipelines = Pipelines()
    assert carry(setup, pipelines) is None
    approve(setup.stage, 1)
    found = carry(setup, pipelines)
    assert found is not None
    assert found.standing is Standing.SATISFIED
    assert pipelines.taken == []


def test_gitlab_down_is_tried_a_few_times_and_left_to_the_next(setup: Setup) -> None:
    approve(setup.stage, 2)
    pipelines = Pipelines([down() for _ in range(7)])
    found = carry(setup, pipelines)
    assert found is not None
    assert (found.standing, found.attempts, found.why) == (Standing.WANTED, 5, "GitLab is down")
    assert not found.interrupted
    assert setup.kinds() == ["approved", "trigger_failed"], "once, not at each try"
    found = carry(setup, pipelines)
    assert found is not None
    assert (found.standing, found.attempts) == (Standing.TRIGGERED, 8)


def test_what_trying_again_does_not_mend_is_not_tried_again(setup: Setup) -> None:
    approve(setup.stage, 2)
    found = carry(setup, Pipelines([down(lasting=True)]))
    assert found is not None
    assert (found.standing, found.attempts) == (Standing.WANTED, 1)


def test_an_alias_that_moves_between_two_tries_takes_its_approval_along(setup: Setup) -> None:
    setup.stage.registry.set_aliases(3, None)
    approve(setup.stage, 1)
    pipelines = Pipelines([down(), down()])
    found = carry(setup, pipelines, sleep=lambda: approve(setup.stage, 2))
    assert [one.model_version for one in pipelines.taken] == [2]
    assert found is not None
    assert found.model_version == 2
    approve(setup.stage, None)
    assert carry(setup, pipelines) is None


def test_another_version_under_way_is_let_finish_first(setup: Setup) -> None:
    rollout = setup.stage.create()
    setup.stage.registry.set_aliases(3, None)
    approve(setup.stage, 1)
    pipelines = Pipelines()
    for _ in range(2):
        found = carry(setup, pipelines)
        assert found is not None
        assert (found.standing, found.attempts) == (Standing.WANTED, 0)
        assert f"rollout {rollout.id} of version 2 is unfinished" in found.why
    assert setup.kinds() == ["approved", "trigger_waits"]
    setup.record.move(rollout, State.ABORTED, "ended", rollout.progress, WHO, rollout.created_at + 1)
    carry(setup, pipelines)
    assert len(pipelines.taken) == 1


def test_a_promote_by_hand_while_gitlab_is_down_is_the_approval_s_own(setup: Setup) -> None:
    approve(setup.stage, 2)
    carry(setup, Pipelines([down(lasting=True)]))
    setup.stage.create()
    pipelines = Pipelines()
    found = carry(setup, pipelines)
    assert found is not None
    assert found.standing is Standing.SATISFIED
    assert pipelines.taken == []


def test_two_at_once_trigger_one_pipeline(setup: Setup) -> None:
    approve(setup.stage, 2)
    entered, leave = threading.Event(), threading.Event()

    class Slow(Pipelines):
        def trigger(self, approval: Approval) -> str:
            entered.set()
            assert leave.wait(20)
            return super().trigger(approval)

    pipelines = Slow()
    first = threading.Thread(target=carry, args=(setup, pipelines))
    first.start()
    assert entered.wait(20)
    found = carry(setup, pipelines)
    leave.set()
    first.join()
    assert found is not None
    assert (found.standing, found.interrupted) == (Standing.WANTED, True)
    assert len(pipelines.taken) == 1
    assert setup.newest().standing is Standing.TRIGGERED


@pytest.mark.parametrize("taken", [False, True], ids=["before the call", "after the call"])
def test_killed_between_intent_and_outcome_it_is_triggered_again(setup: Setup, tmp_path: Path, taken: bool) -> None:
    """GitLab cannot be asked whether it has it: at least once, and a second promote of the digest does nothing."""
    approve(setup.stage, 2)
    log = tmp_path / "gitlab.log"

    class Deadly(Pipelines):
        def trigger(self, approval: Approval) -> str:
            if taken:
                log.write_text("pipeline 1")
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    child = os.fork()
    if child == 0:
        try:
            record = ApprovalLedger(setup.stage.record.path)  # a connection does not survive a fork
            trigger.trigger_wanted(record, setup.stage.registry, Deadly(), "production", "assay", WHO, "relay")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert log.exists() == taken
    assert setup.newest().interrupted
    pipelines = Pipelines()
    found = carry(setup, pipelines)
    assert found is not None
    assert (found.standing, len(pipelines.taken)) == (Standing.TRIGGERED, 1)
    assert setup.kinds() == ["approved", "interrupted", "trigger"]
    setup.record.verify_chain()


def test_killed_after_gitlab_had_it_and_its_rollout_began_nothing_is_triggered_again(setup: Setup) -> None:
    approve(setup.stage, 2)
    carry(setup, Pipelines([down(lasting=True)]))
    setup.record.intend_trigger(setup.newest(), WHO, setup.newest().changed_at)
    setup.stage.promote()
    pipelines = Pipelines()
    found = carry(setup, pipelines)
    assert found is not None
    assert (found.standing, pipelines.taken) == (Standing.SATISFIED, [])


def test_a_manifest_that_changed_since_the_approval_was_approved_by_nobody(setup: Setup) -> None:
    approve(setup.stage, 2)
    carry(setup, Pipelines([down(lasting=True)]))
    approved = setup.stage.digest(2)
    setup.stage.registry.versions[2] = (setup.stage.folders[2], "e" * 64, "pass")
    pipelines = Pipelines()
    for _ in range(2):
        found = carry(setup, pipelines)
        assert found is not None
        assert found.standing is Standing.REFUSED
        assert f"eeeeeeeeeeee now, but {approved[:12]} was approved" in found.why
    assert pipelines.taken == []
    assert setup.kinds().count("approval_refused") == 1


def test_a_dead_registry_is_said(setup: Setup) -> None:
    setup.stage.registry.down = True
    with pytest.raises(RegistryError):
        carry(setup, Pipelines())
