"""The relay killed (SIGKILL) before and after every write and every call, in turn: no approval lost, none forgotten.

A child takes one delivery and carries it to GitLab, and kills itself at its n-th moment. Then MLflow sends the same
delivery again, as it got no answer, and a restarted relay goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from approval import trigger
from approval.ledger import ApprovalLedger
from approval.standing import Approval, Standing
from tests.approval.setup import Clock, Delivery, Setup
from tests.rollout.dying import dies
from tests.rollout.stage import WHO, Stage

MOMENTS = ("take", "keep_delivery", "intend_trigger", "triggered")


@dataclass(frozen=True)
class GitlabLog:
    """A GitLab that writes down what it was asked for; a file, as the child is killed."""

    path: Path
    hook: Callable[[], None] = lambda: None

    def trigger(self, approval: Approval) -> str:
        self.hook()
        with self.path.open("a") as stream:
            stream.write(f"{approval.digest}\n")
        self.hook()
        return f"https://gitlab.example/pipelines/{len(self.taken)}"

    @property
    def taken(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


class Watched(ApprovalLedger):
    """A record that calls `hook` before and after each of `MOMENTS`."""

    def __init__(self, path: Path, hook: Callable[[], None]) -> None:
        super().__init__(path)
        for name in MOMENTS:
            setattr(self, name, self._around(getattr(self, name), hook))

    def _around(self, call: Callable[..., Any], hook: Callable[[], None]) -> Callable[..., Any]:
        def around(*arguments: Any, **named: Any) -> Any:
            hook()
            found = call(*arguments, **named)
            hook()
            return found

        return around


def relay(setup: Setup, ledger: ApprovalLedger, gitlab: GitlabLog, message: Delivery) -> None:
    """What the relay does with one delivery: take it, answer, carry what is wanted."""
    replace(setup.inbox, ledger=ledger).receive(message.headers, message.body)
    trigger.trigger_wanted(ledger, setup.stage.registry, gitlab, "production", "assay", WHO, "relay")


def watched_relay(setup: Setup, gitlab: GitlabLog, message: Delivery, moment: Callable[[], None]) -> None:
    """The same with `moment` called before and after everything it does."""
    relay(setup, Watched(setup.stage.record.path, moment), replace(gitlab, hook=moment), message)


def test_killed_at_every_moment_one_approval_becomes_one_pipeline(quick_disk: Path) -> None:
    twice, at = [], 0
    while True:
        root = quick_disk / str(at)
        root.mkdir()
        stage = Stage(root)
        stage.put_live()
        setup, gitlab = Setup(stage, Clock()), GitlabLog(root / "gitlab")
        message = setup.click(2)
        killed = dies(at, partial(watched_relay, setup, gitlab, message))
        for _ in range(2):
            relay(setup, setup.record, gitlab, message)
        found = setup.newest()
        assert found.standing is Standing.TRIGGERED, f"killed at moment {at}"
        assert setup.kinds().count("approved") == 1, f"killed at moment {at}"
        assert setup.kinds().count("trigger") == 1, f"killed at moment {at}"
        assert set(gitlab.taken) == {stage.digest(2)}
        if len(gitlab.taken) > 1:
            twice.append(at)
            assert len(gitlab.taken) == 2
            assert "interrupted" in setup.kinds(), "what may have happened twice is recorded"
        setup.record.verify_chain()
        for record in (setup.record, stage.record, setup.inbox.ledger):
            record.close_file()
        shutil.rmtree(root)
        if not killed:
            break
        at += 1
    assert at >= 2 * len(MOMENTS) + 2
    assert len(twice) <= 2, f"only between GitLab's answer and the note of it, not at {twice}"
