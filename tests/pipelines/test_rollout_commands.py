"""promote, rollback and status as a person or a job runs them, on parts that are files."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import RolloutError
from models import manifest
from pipelines import promote, rollback, status
from rollout import planning
from rollout.session import Session
from rollout.states import State
from tests.rollout.stage import ROOT, WHO, Stage, settings, version

Main = Callable[..., int]


class Terminal:
    """Runs commands against one stage and keeps what they print."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def run(self, main: Main, *argv: str) -> tuple[int, list[Any]]:
        lines: list[str] = []
        code = main([*argv, "--json"], opened=lambda options: self._desk(options, lines))
        return code, [json.loads(line) for line in lines]

    def text(self, main: Main, *argv: str) -> list[str]:
        lines: list[str] = []
        main(list(argv), opened=lambda options: self._desk(options, lines))
        return lines

    def _desk(self, options: argparse.Namespace, lines: list[str]) -> Session:
        stage = self.stage
        return Session(
            stage.settings, stage.record, stage.target, stage.registry, WHO, stage.ask, options.json, lines.append
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    stage = Stage(tmp_path)
    stage.put_live()
    return Terminal(stage)


def _states(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [line["state"] for line in lines]


def test_promote_tells_every_state_with_its_reason(terminal: Terminal) -> None:
    code, lines = terminal.run(promote.main, "--version", "2", "--yes")
    assert code == 0
    assert _states(lines) == [*list(State)[:8], State.SUCCEEDED]
    assert all(line["why"] and line["version"] == 2 and line["slot"] == "green" for line in lines)
    assert [line["finished"] for line in lines] == [False] * 8 + [True]


def test_the_approved_version_is_taken_and_only_with_its_digest(terminal: Terminal) -> None:
    with pytest.raises(RolloutError, match="no version with alias 'approved'"):
        terminal.run(promote.main)
    path = terminal.stage.registry.path
    path.write_text(json.dumps(json.loads(path.read_text()) | {"approved": 2}))
    with pytest.raises(RolloutError, match="but 0000 was approved"):
        terminal.run(promote.main, "--digest", "0000")
    code, _ = terminal.run(promote.main, "--digest", terminal.stage.digest(2), "--yes")
    assert code == 0


def test_a_plan_made_while_another_rollout_ended_is_refused(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the bad version, live while the plan was made and taken back since, would be what it goes back to."""
    stage = terminal.stage
    stage.wrong_live = (2,)
    third = version(stage.root, "v3")
    stage.folders[3] = third
    stage.registry.versions[3] = (third, manifest.digest(third), "pass")
    plan = planning.promote

    def slowly(*given: Any) -> Any:
        """Version 2 is under watch when this one looks, and is taken back before its files are there."""
        found: list[Any] = []

        def hook(moment: str) -> None:
            if moment == "before:measure" and stage.target.observe().live == "green" and not found:
                found.append(plan(*given))

        assert stage.controller(hook).run(stage.create()).state is State.ROLLED_BACK
        return found[0]

    monkeypatch.setattr(planning, "promote", lambda *given: slowly(*given) if given[1] == 3 else plan(*given))
    with pytest.raises(RolloutError, match="a rollout has ended in production while this one was planned"):
        terminal.run(promote.main, "--version", "3", "--yes")
    seen = stage.target.observe()
    assert (seen.live, seen.slots["blue"].digest) == ("blue", stage.digest(1))
    monkeypatch.setattr(planning, "promote", plan)
    code, _ = terminal.run(promote.main, "--version", "3", "--yes")
    assert code == 0


def test_a_preview_job_leaves_and_a_manual_job_goes_on(terminal: Terminal) -> None:
    terminal.stage.settings = settings(timeouts={"approval_s": 30})
    code, lines = terminal.run(promote.main, "--version", "2", "--until", "AwaitingApproval")
    assert (code, _states(lines)[-1]) == (0, "AwaitingApproval")
    with pytest.raises(RolloutError, match="is unfinished in production"):
        terminal.run(promote.main, "--version", "2")
    code, lines = terminal.run(promote.main, "--resume", "--yes", "--why", "the figures are good")
    assert (code, _states(lines)[-1]) == (0, "Succeeded")
    assert any("the figures are good" in line["why"] for line in lines)


def test_a_second_pipeline_for_one_approval_does_nothing(terminal: Terminal) -> None:
    digest = terminal.stage.digest(2)
    terminal.stage.settings = settings(timeouts={"approval_s": 30})
    terminal.run(promote.main, "--version", "2", "--digest", digest, "--until", "AwaitingApproval")
    with pytest.raises(RolloutError, match="is unfinished in production"):
        terminal.run(promote.main, "--version", "2", "--digest", digest, "--until", "AwaitingApproval")
    with pytest.raises(RolloutError, match="it is left alone"):
        terminal.run(promote.main, "--resume", "--yes", "--digest", terminal.stage.digest(1))
    assert terminal.run(promote.main, "--resume", "--yes", "--digest", digest)[0] == 0
    events = len(terminal.stage.record.events())
    for again in (["--version", "2", "--until", "AwaitingApproval"], ["--resume", "--yes"]):
        code, lines = terminal.run(promote.main, *again, "--digest", digest)
        assert (code, lines) == (
            0,
            [{"state": "Succeeded", "why": "version 2 of assay is live and champion already"}],
        )
    assert len(terminal.stage.record.events()) == events
    with pytest.raises(RolloutError, match="nothing to resume"):
        terminal.run(promote.main, "--resume", "--yes", "--digest", terminal.stage.digest(1))


def test_rollback_ends_what_another_process_carries_out(terminal: Terminal) -> None:
    terminal.stage.settings = settings(timeouts={"approval_s": 30})
    ended: list[Any] = []
    job = threading.Thread(target=lambda: ended.append(terminal.run(promote.main, "--version", "2")))
    job.start()
    deadline = time.monotonic() + 20
    while (
        found := terminal.stage.record.unfinished("production")
    ) is None or found.state is not State.AWAITING_APPROVAL:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, _ = terminal.run(rollback.main, "--why", "not today")
    job.join()
    assert code == 0
    assert ended[0][0] == 4
    assert terminal.stage.target.observe().slots["green"].empty


def test_rollback_to_previous_and_its_history(terminal: Terminal) -> None:
    terminal.run(promote.main, "--version", "2", "--yes")
    code, lines = terminal.run(rollback.main, "--why", "users complain")
    assert (code, _states(lines)[-1]) == (0, "Succeeded")
    assert terminal.stage.target.observe().live == "blue"
    history = terminal.text(status.main, "--history", "1")
    assert any("users complain" in line and "tester" in line for line in history)
    code, lines = terminal.run(status.main, "--verify-chain")
    assert code == 0
    assert terminal.run(status.main, "--verify-chain", "--head", lines[0]["head"])[0] == 0
    with pytest.raises(RolloutError, match="written anew"):
        terminal.run(status.main, "--verify-chain", "--head", "0" * 64)


def test_status_shows_what_is_there_and_what_is_wrong(terminal: Terminal) -> None:
    terminal.run(promote.main, "--version", "2", "--yes")
    code, (found,) = terminal.run(status.main)
    assert code == 0
    assert (found["live"], found["generation"], found["aliases"]["champion"]) == ("green", 2, 2)
    assert found["rollout"]["state"] == "Succeeded"
    terminal.stage.registry.set_aliases(1, 2)
    code, (found,) = terminal.run(status.main)
    assert code == 1
    assert "changed manually, not by a rollout" in found["problems"][0]
    assert any("problem: champion is version 1" in line for line in terminal.text(status.main))
    terminal.stage.registry.down = True
    assert any("does not answer" in line for line in terminal.text(status.main))


@pytest.mark.parametrize("verb", ["promote", "rollback", "status", "reconcile", "relay"])
def test_the_command_tells_its_usage(verb: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", f"pipelines.{verb}", "--help"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"python -m pipelines.{verb}" in run.stdout
