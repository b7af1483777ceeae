"""The record: one unfinished rollout, intents, and events that cannot be changed unseen."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from core.errors import RolloutError
from rollout.chain import Event
from rollout.record import Intended, Progress, Rollout, RolloutRecord, Who
from rollout.states import Effect, Plan, State
from rollout.targets import Sample, Version

WHO = Who("tester", "https://gitlab.example/pipelines/7")
PLAN = Plan(
    kind="promote",
    version=Version("assay", 2, "b" * 64, Path("new")),
    slot="green",
    from_slot="blue",
    from_version=None,
    evidence="pass",
)


@pytest.fixture
def record(tmp_path: Path) -> RolloutRecord:
    return RolloutRecord(tmp_path / "rollout.db")


def _begin(record: RolloutRecord, environment: str = "production", now: float = 1.0) -> Rollout:
    return record.create(environment, PLAN, WHO, "approved in the UI", now)


def _end(record: RolloutRecord, rollout: Rollout) -> Rollout:
    return record.move(rollout, State.ABORTED, "enough", rollout.progress, WHO, 2.0)


def test_one_unfinished_rollout_for_each_environment(record: RolloutRecord) -> None:
    first = _begin(record)
    with pytest.raises(RolloutError, match=f"rollout {first.id} is unfinished in production"):
        _begin(record)
    assert _begin(record, "staging").environment == "staging"
    _end(record, first)
    second = _begin(record)
    assert second.id != first.id
    assert record.unfinished("production") == second


def test_what_is_written_is_read_again(record: RolloutRecord) -> None:
    sample = Sample(1.0, "p1", 5, 1, 0, 0, {5.0: 2, float("inf"): 5})
    progress = Progress(identity="p1", first=(sample, None), baseline={"requests": 4.0, "error_rate": None})
    rollout = record.move(_begin(record), State.VERIFYING, "at once", progress, WHO, 2.0)
    assert record.get(rollout.id) == rollout
    assert rollout.progress == progress
    intent = record.intend(rollout, Effect.VERIFY, 2.0)
    assert record.intended(rollout) == {Effect.VERIFY: Intended(0, None)}
    rollout = record.close(rollout, progress.model_copy(update={"verification": ""}), intent, "all match", WHO, 3.0)
    assert record.intended(rollout) == {Effect.VERIFY: Intended(1, 2.0)}
    assert record.get(rollout.id).progress.verification == ""


def test_an_open_intent_is_told_and_not_counted_as_done(record: RolloutRecord) -> None:
    rollout = _begin(record)
    record.intend(rollout, Effect.SWITCH_BACK, 2.0)
    record.close_interrupted(rollout, WHO, 3.0)
    record.close_interrupted(rollout, WHO, 4.0)
    assert record.intended(rollout) == {Effect.SWITCH_BACK: Intended(0, None)}
    assert [event.what for event in record.events("kind = 'interrupted'")] == ["switch_back"]


def test_a_request_reaches_only_a_running_rollout(record: RolloutRecord) -> None:
    rollout = _begin(record)
    assert record.asked(rollout, "approve") is None
    record.ask(rollout, "approve", WHO, "looks good", 2.0)
    assert record.asked(rollout, "approve") == "tester (looks good)"
    _end(record, rollout)
    with pytest.raises(RolloutError, match="nothing to cancel"):
        record.ask(rollout, "cancel", WHO, "too late", 3.0)


def test_events_cannot_be_changed_through_sql(record: RolloutRecord) -> None:
    _end(record, _begin(record))
    with sqlite3.connect(record.path) as connection:
        for statement in (
            "UPDATE events SET who = 'someone else'",
            "DELETE FROM events WHERE seq = 2",
            "INSERT INTO events SELECT seq + 5, at, environment, rollout_id, kind, who, what, why, model_name, "
            "model_version, digest, evidence_sha256, pipeline_url, previous, 'x' FROM events LIMIT 1",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)
    assert record.verify_chain()[0] == 2


@pytest.mark.parametrize(
    ("tampering", "message"),
    [
        ("UPDATE events SET who = 'someone else' WHERE seq = 2", "event 2 .* was changed"),
        ("UPDATE events SET why = 'because' WHERE seq = 3", "event 3 .* was changed"),
        ("DELETE FROM events WHERE seq = 2", "event 3 .* removed"),
        ("DELETE FROM events WHERE seq = 3", "events were cut off"),
        ("UPDATE evidence SET content = '{}'", "the evidence of event 1 .* was changed"),
    ],
)
def test_tampering_is_found_even_where_the_triggers_were_dropped(
    record: RolloutRecord, tampering: str, message: str
) -> None:
    rollout = _begin(record)
    rollout = record.move(rollout, State.VERIFYING, "at once", rollout.progress, WHO, 2.0)
    _end(record, rollout)
    assert record.verify_chain()[0] == 3
    with sqlite3.connect(record.path) as connection:
        for trigger in ("events_no_update", "events_no_delete", "events_no_gap"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(tampering)
    with pytest.raises(RolloutError, match=message):
        record.verify_chain()


def test_a_chain_written_anew_lacks_the_head_that_was_kept(record: RolloutRecord, tmp_path: Path) -> None:
    _end(record, _begin(record))
    count, head = record.verify_chain()
    record.append(Event(5.0, "production", None, "alias_moved", "nobody", "champion is version 3", "by hand"))
    assert record.verify_chain(head)[0] == count + 1
    other = RolloutRecord(tmp_path / "other.db")
    _end(other, _begin(other))
    with pytest.raises(RolloutError, match="written anew"):
        other.verify_chain(head)


def test_many_writers_make_one_chain(record: RolloutRecord) -> None:
    rollout = _begin(record)
    threads = [
        threading.Thread(target=record.ask, args=(rollout, "approve", Who(f"person {n}"), "yes", 2.0))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert record.verify_chain()[0] == 9
    assert len(record.history("assay", 2)) == 9
    assert record.history("assay", 1) == []


def test_a_record_that_cannot_be_used_is_told_by_name(
    record: RolloutRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_text("a log file, say, and no database")
    with pytest.raises(RolloutError, match=r"foreign\.db cannot be used: file is not a database"):
        RolloutRecord(foreign)
    monkeypatch.setattr("rollout.record.BUSY_S", 0.05)
    waiting = RolloutRecord(record.path)
    holder = sqlite3.connect(record.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RolloutError, match=r"rollout\.db cannot be used: database is locked"):
        _begin(waiting)
    holder.rollback()
    assert _begin(waiting).state is State.PENDING
    waiting.close_file()
    with pytest.raises(RolloutError, match="cannot be used"):
        waiting.latest("production")
