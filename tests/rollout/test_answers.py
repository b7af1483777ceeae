"""Answers held against the live slot's own, question by question, through the whole controller."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data import splits
from data.records import Item
from rollout import analysis
from rollout.analysis import Answers
from rollout.record import RolloutRecord
from rollout.states import State
from tests.rollout.stage import Stage, settings

SHIPPED = {"suite_items": 40, "count": 6}  # as params.yaml has it, but with short intervals
ALL = 240


@dataclass
class _Students(Stage):
    """Version 1 is right with a chance that hangs on the task; version 2 loses and gains shares of the questions.

    What a version says to a question hangs on the question alone: it decodes greedily. `seen`: (digest, id).
    """

    lost: float = 0.0
    gained: float = 0.0
    uneven: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, url: str, digest: str, asked: Sequence[Item]) -> Answers:
        self.seen += [(digest, item.id) for item in asked]
        return Answers.of({item.id: self._is_right(item, digest == self.digest(2)) for item in asked})

    def _is_right(self, item: Item, is_new: bool) -> bool:
        rng = random.Random(item.id)
        accuracy = 0.7 if not self.uneven else 0.95 if item.task < "l" else 0.3
        right, luck = rng.random() < accuracy, rng.random()
        if is_new and luck < (self.lost / 0.7 if right else self.gained / 0.3):
            return not right
        return right


def _students(root: Path, **changes: object) -> _Students:
    stage = _Students(root, settings=settings(before=SHIPPED, after=SHIPPED), **changes)  # type: ignore[arg-type]
    stage.put_live()
    return stage


@pytest.mark.parametrize("uneven", [False, True])
def test_an_identical_version_stays_whatever_the_tasks(tmp_path: Path, uneven: bool) -> None:
    stage = _students(tmp_path, uneven=uneven, lost=0.01, gained=0.01)
    ended = stage.promote()
    assert ended.state is State.SUCCEEDED, ended.why
    before, after = ([key for digest, key in stage.seen if digest == stage.digest(number)] for number in (1, 2))
    assert len(set(before)) == len(before) == ALL
    assert after[:ALL] == after[ALL:] == before, "each is asked what the live slot was asked, before and after"
    taken = ended.progress.taken[-1].figures
    assert taken["right_change"] == pytest.approx((taken["right_share"] or 0) - (taken["baseline_right_share"] or 0))


def test_a_loss_of_ten_points_is_stopped_before_the_switch(tmp_path: Path) -> None:
    stage = _students(tmp_path, lost=0.12, gained=0.02)
    ended = stage.promote()
    assert ended.state is State.ABORTED
    reasons = [event.why for event in stage.record.events("kind = 'transition'")]
    assert any("answers failed" in why and "right_change_high >= -0.02" in why for why in reasons), reasons
    assert stage.target.observe().generation == 1, "no user was ever sent there"


def test_fewer_questions_than_wanted_are_compared_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = splits.questions
    monkeypatch.setattr(splits, "questions", lambda *args: few(*args)[:50])
    stage = _students(tmp_path, lost=0.02, gained=0.02)
    ended = stage.promote()
    assert ended.state is State.SUCCEEDED, ended.why
    assert ended.progress.own_answers.asked == 50
    assert "50 questions that are in no split, 240 are wanted" in capsys.readouterr().err


def test_no_question_at_all_never_promotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "questions", lambda *args: [])
    stage = _students(tmp_path)
    assert stage.promote().state is State.ABORTED
    assert any("inconclusive" in event.why for event in stage.record.events("kind = 'transition'"))


def test_before_asked_nothing_so_after_has_nothing_to_compare_with(tmp_path: Path) -> None:
    nothing = SHIPPED | {"suite_items": 0, "success_condition": {"errors": "error_rate <= 0.01"}}
    stage = _Students(tmp_path, settings=settings(before=nothing, after=SHIPPED))
    stage.put_live()
    ended = stage.promote()
    assert ended.state is State.SUCCEEDED, ended.why
    whys = [event.why for event in stage.record.events("kind = 'transition'")]
    assert any("skipped, the live slot was asked nothing before the switch: answers" in why for why in whys), whys


@pytest.mark.parametrize("phase", [State.PRE_PROMOTION_ANALYSIS, State.POST_PROMOTION_ANALYSIS])
def test_a_successor_goes_on_with_the_answers_given(tmp_path: Path, phase: State) -> None:
    """Killed after the third measurement that asked: the successor asks the rest, and compares all of them."""
    stage = _students(tmp_path, lost=0.02, gained=0.02)
    rollout, measured = stage.create(), [0]

    def dies(moment: str) -> None:
        measured[0] += moment == "after:measure" and stage.record.get(rollout.id).state is phase
        if measured[0] == 4:  # the first only begins to count
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.controller(dies).run(rollout)
    kept = stage.record.get(rollout.id).progress
    assert len(kept.own_answers.by_question) == 120
    assert len(kept.baseline_answers.by_question) == (120 if phase is State.PRE_PROMOTION_ANALYSIS else ALL)
    asked = len(stage.seen)
    stage.record.close_file()
    stage.record = RolloutRecord(tmp_path / "rollout.db")
    ended = stage.controller().run(rollout)
    assert ended.state is State.SUCCEEDED, ended.why
    assert len(stage.seen) - asked == (2 * 120 + ALL if phase is State.PRE_PROMOTION_ANALYSIS else 120)
    assert ended.progress.own_answers.asked == len(ended.progress.own_answers.by_question) == ALL
    live = ended.progress.baseline_answers
    found = analysis.paired(stage.settings.rollout.after, ended.progress.own_answers, live)
    assert found.items() <= ended.progress.taken[-1].figures.items()
