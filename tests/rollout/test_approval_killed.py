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

from rollout import approval_trigger
from rollout.approval import Approval, Standing
from rollout.approval_record import ApprovalRecord
from tests.rollout.approvals import Clock, Delivery, Desk
from tests.rollout.dying import dies
from tests.rollout.stage import WHO, Stage

MOMENTS = ("take", "keep_delivery", "intend_trigger", "triggered")


@dataclass(frozen=True)
class Ledger:
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


class Watched(ApprovalRecord):
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


def relay(desk: Desk, record: ApprovalRecord, ledger: Ledger, message: Delivery) -> None:
    """What the relay does with one delivery: take it, answer, carry what is wanted."""
    replace(desk.inbox, record=record).receive(message.headers, message.body)
    approval_trigger.carry(record, desk.stage.registry, ledger, "production", "assay", WHO, "relay")


def watched_relay(desk: Desk, ledger: Ledger, message: Delivery, moment: Callable[[], None]) -> None:
    """The same with `moment` called before and after everything it does."""
    relay(desk, Watched(desk.stage.record.path, moment), replace(ledger, hook=moment), message)


def test_killed_at_every_moment_one_approval_becomes_one_pipeline(quick_disk: Path) -> None:
    twice, at = [], 0
    while True:
        root = quick_disk / str(at)
        root.mkdir()
        stage = Stage(root)
        stage.put_live()
        desk, ledger = Desk(stage, Clock()), Ledger(root / "gitlab")
        message = desk.click(2)
        killed = dies(at, partial(watched_relay, desk, ledger, message))
        for _ in range(2):
            relay(desk, desk.record, ledger, message)
        found = desk.newest()
        assert found.standing is Standing.TRIGGERED, f"killed at moment {at}"
        assert desk.kinds().count("approved") == 1, f"killed at moment {at}"
        assert desk.kinds().count("trigger") == 1, f"killed at moment {at}"
        assert set(ledger.taken) == {stage.digest(2)}
        if len(ledger.taken) > 1:
            twice.append(at)
            assert len(ledger.taken) == 2
            assert "interrupted" in desk.kinds(), "what may have happened twice is told"
        desk.record.verify_chain()
        for record in (desk.record, stage.record, desk.inbox.record):
            record.close_file()
        shutil.rmtree(root)
        if not killed:
            break
        at += 1
    assert at >= 2 * len(MOMENTS) + 2
    assert len(twice) <= 2, f"only between GitLab's answer and the note of it, not at {twice}"
