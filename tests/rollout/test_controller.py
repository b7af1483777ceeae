"""The controller against a target and a registry on disk: every way a rollout can go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from core.errors import RolloutError
from rollout import aliases, planning
from rollout.states import State
from rollout.targets import Version
from tests.parts.memory_target import Script
from tests.rollout.stage import WHO, Stage, settings


def _states(stage: Stage, rollout_id: str) -> list[str]:
    events = stage.record.events("rollout_id = ? AND kind = 'transition'", rollout_id)
    return [event.what.split(" -> ")[1] for event in events]


def _stage(root: Path, **changes: object) -> Stage:
    stage = Stage(root, **changes)  # type: ignore[arg-type]  # fields of Stage, by name
    stage.put_live()
    return stage


def _at(moment: str, action: Callable[[], object]) -> Callable[[str], None]:
    """A hook that does something once, at one moment."""
    waiting = [action]

    def hook(now: str) -> None:
        if now == moment and waiting:
            waiting.pop()()

    return hook


def test_the_whole_way(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    ended = stage.promote()
    assert ended.state is State.SUCCEEDED, ended.why
    assert _states(stage, ended.id) == [
        "Verifying", "StartingPreview", "PrePromotionAnalysis", "AwaitingApproval", "Promoting",
        "PostPromotionAnalysis", "Finalizing", "Succeeded",
    ]  # fmt: skip
    seen = stage.target.observe()
    assert (seen.live, seen.mirrored, seen.slots["green"].digest) == ("green", None, stage.digest(2))
    assert seen.slots["blue"].ready, "the old slot stays for an immediate rollback"
    assert (stage.registry.alias("champion"), stage.registry.alias("previous")) == (2, 1)
    count, _ = stage.record.verify_chain()
    history = stage.record.history("assay", 2)
    assert count == len(history)
    assert {event.who for event in history} == {"tester"}
    assert all(event.pipeline_url == "https://gitlab.example/pipelines/7" for event in history)


def test_the_old_slot_is_stopped_where_params_say_so(tmp_path: Path) -> None:
    stage = _stage(tmp_path, settings=settings(keep_previous=False), script=Script(streams_s=0.1))
    assert stage.promote().state is State.SUCCEEDED
    assert stage.target.observe().slots["blue"].empty


@pytest.mark.parametrize(
    ("wrong", "script", "why"),
    [
        ((2,), lambda digest: Script(), "answers failed"),
        ((), lambda digest: Script(errors=frozenset({digest})), "errors failed"),
        ((), lambda digest: Script(never_ready=frozenset({digest})), "StartingPreview took longer"),
        ((), lambda digest: Script(dies=frozenset({digest})), "was started 3 times and crashed each time"),
    ],
    ids=["wrong answers", "errors", "never ready", "dies"],
)
def test_before_the_switch_anything_wrong_aborts(
    tmp_path: Path, wrong: tuple[int, ...], script: Callable[[str], Script], why: str
) -> None:
    stage = _stage(tmp_path, wrong=wrong)
    stage.target.script = script(stage.digest(2))
    ended = stage.promote()
    assert ended.state is State.ABORTED
    reasons = [event.why for event in stage.record.events("kind = 'transition'")]
    assert any(why in reason for reason in reasons), reasons
    _untouched(stage)


def test_no_data_never_promotes(tmp_path: Path) -> None:
    few = {"before": {"min_requests": 10**9}}
    stage = _stage(tmp_path, settings=settings(**few))
    ended = stage.promote()
    assert ended.state is State.ABORTED
    assert any("inconclusive" in event.why for event in stage.record.events("kind = 'transition'"))
    _untouched(stage)


def test_a_changed_file_is_found_before_a_byte_is_loaded(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    rollout = stage.create()
    (stage.folders[2] / "weights.bin").write_bytes(b"other")
    ended = stage.controller().run(rollout)
    assert ended.state is State.ABORTED
    assert _states(stage, ended.id) == ["Verifying", "Aborting", "Aborted"]
    assert any("changed: weights.bin" in event.why for event in stage.record.events())
    _untouched(stage)


def test_without_approval_the_preview_does_not_stay(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    ended = stage.controller().run(stage.create(approve=False))
    assert ended.state is State.ABORTED
    assert "AwaitingApproval" in _states(stage, ended.id)
    _untouched(stage)


@pytest.mark.parametrize("kind", ["errors_live", "wrong_live"])
def test_a_version_that_degrades_after_the_switch_is_rolled_back(tmp_path: Path, kind: str) -> None:
    stage = _stage(tmp_path, wrong_live=(2,) if kind == "wrong_live" else ())
    if kind == "errors_live":
        stage.target.script = Script(errors_live=frozenset({stage.digest(2)}))
    ended = stage.promote()
    assert ended.state is State.ROLLED_BACK, ended.why
    assert stage.target.observe().generation == 3
    _untouched(stage)


def test_a_gateway_that_does_not_confirm_is_never_left_half_switched(tmp_path: Path) -> None:
    stage = _stage(
        tmp_path, settings=settings(timeouts={"switch_s": 0.2, "ready_s": 0.2, "drain_s": 0.1, "finish_s": 0.2})
    )
    stage.target.script = Script(silent_switch=True)
    ended = stage.promote()
    # Nobody may say that it is rolled back as long as the gateway has not said so.
    assert ended.state is State.HALTED
    assert stage.target.observe().live == "blue"
    assert stage.registry.alias("champion") == 1


def test_a_live_slot_that_died_is_started_again_to_roll_back_to(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    stage.target.script = Script(errors_live=frozenset({stage.digest(2)}))
    rollout = stage.create()
    ended = stage.controller(lambda moment: stage.target.kill("blue") if moment == "after:switch" else None).run(
        rollout
    )
    assert ended.state is State.ROLLED_BACK
    _untouched(stage)


@pytest.mark.parametrize(
    ("moment", "ends"),
    [("after:PrePromotionAnalysis", State.ABORTED), ("after:PostPromotionAnalysis", State.ROLLED_BACK)],
)
def test_a_process_that_started_anew_is_another_one(tmp_path: Path, moment: str, ends: State) -> None:
    stage = _stage(tmp_path)

    def restart(at: str) -> None:
        if at == moment:
            stage.target.kill("green")
            stage.target.start("green", Version("assay", 2, stage.digest(2), stage.folders[2]))

    ended = stage.controller(restart).run(stage.create())
    assert ended.state is ends
    assert any("started again" in event.why for event in stage.record.events("kind = 'transition'"))
    _untouched(stage)


def test_a_route_moved_manually_before_the_analysis_is_moved_back(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    hook = _at("after:PrePromotionAnalysis", lambda: stage.target.switch("green"))
    ended = stage.controller(hook).run(stage.create())
    assert ended.state is State.ROLLED_BACK
    _untouched(stage)


def test_a_registry_that_is_down_moves_nothing(tmp_path: Path) -> None:
    stage = _stage(tmp_path, settings=settings(timeouts={"finish_s": 0.2, "drain_s": 0.05, "ready_s": 0.3}))

    def fall(at: str) -> None:
        stage.registry.down = stage.registry.down or at == "after:Finalizing"

    ended = stage.controller(fall).run(stage.create())
    stage.registry.down = False
    # It cannot be known whether `champion` moved: live traffic goes back, and a person is asked about the alias.
    assert ended.state is State.HALTED
    assert stage.target.observe().live == "blue"


def test_a_first_version_goes_live_with_nothing_to_compare(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    ended = stage.promote()
    assert ended.state is State.SUCCEEDED, ended.why
    assert stage.registry.alias("champion") == 2
    assert any("no version was live" in event.why for event in stage.record.events("kind = 'transition'"))


def test_a_cancel_from_another_process(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    rollout = stage.create(approve=False)
    cancel = partial(stage.record.ask, rollout, "cancel", WHO, "second thoughts", time.time())
    hook = _at("after:AwaitingApproval", cancel)
    ended = stage.controller(hook).run(rollout)
    assert ended.state is State.ABORTED
    assert any("cancelled by tester (second thoughts)" in event.why for event in stage.record.events())


def test_rollback_goes_back_at_once_and_adopt_makes_true_what_is_live(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    assert stage.promote().state is State.SUCCEEDED
    plan = planning.rollback("assay", stage.registry, stage.target)
    ended = stage.controller().run(stage.record.create("production", plan, WHO, "users complain", time.time()))
    assert ended.state is State.SUCCEEDED
    assert _states(stage, ended.id) == ["Verifying", "StartingPreview", "Promoting", "Finalizing", "Succeeded"]
    assert stage.target.observe().live == "blue"
    assert (stage.registry.alias("champion"), stage.registry.alias("previous")) == (1, 2)
    stage.target.switch("green")  # manually
    plan = planning.promote("assay", 2, stage.registry, stage.target)
    assert plan.kind == "adopt"
    ended = stage.controller().run(stage.record.create("production", plan, WHO, "make it true", time.time()))
    assert ended.state is State.SUCCEEDED, ended.why
    assert stage.registry.alias("champion") == 2


def test_only_a_pass_or_a_reason_may_go_live(tmp_path: Path) -> None:
    stage = _stage(tmp_path, evidence="inconclusive")
    with pytest.raises(RolloutError, match="no passing evidence"):
        stage.create()
    rollout = stage.create(override="an outage, version 1 is worse")
    ended = stage.controller().run(rollout)
    assert ended.state is State.SUCCEEDED
    assert any("overridden: an outage, version 1 is worse" in event.why for event in stage.record.events())
    stage.registry.set_aliases(1, None)
    plan = replace(rollout.plan, override=None)  # a plan that was made some other way
    stage.target.switch("blue")
    ended = stage.controller().run(stage.record.create("production", plan, WHO, "sneaked in", time.time()))
    assert ended.state is State.ABORTED


def test_a_champion_changed_manually_is_reported_once(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    stage.promote()
    assert aliases.report_manual_change(stage.record, "production", "assay", 2, WHO) is None
    stage.registry.set_aliases(1, 2)
    for _ in range(3):
        champion = stage.registry.alias("champion")
        found = aliases.report_manual_change(stage.record, "production", "assay", champion, WHO)
        assert found == "champion is version 1, not version 2: changed manually, not by a rollout"
    assert len(stage.record.events("kind = 'alias_moved'")) == 1


def test_two_controllers_never_carry_out_one_rollout(tmp_path: Path) -> None:
    stage = _stage(tmp_path)
    rollout = stage.create()
    refused = []

    def second(at: str) -> None:
        if at == "after:PrePromotionAnalysis":
            with pytest.raises(RolloutError, match="another process"):
                stage.controller().run(rollout)
            refused.append(at)

    assert stage.controller(second).run(rollout).state is State.SUCCEEDED
    assert refused


def _untouched(stage: Stage) -> None:
    """Version 1 is live and champion, nothing else runs, nothing is mirrored."""
    seen = stage.target.observe()
    assert (seen.live, seen.mirrored) == ("blue", None)
    assert seen.slots["blue"].ready
    assert seen.slots["blue"].digest == stage.digest(1)
    assert seen.slots["green"].empty
    assert stage.registry.alias("champion") == 1
    stage.record.verify_chain()
