"""Forged, replayed, late, duplicated and reordered webhooks, each answered as it should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollout.approval import Standing
from rollout.states import State
from tests.rollout.approvals import Delivery, Desk, approve
from tests.rollout.stage import Stage


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    stage = Stage(tmp_path)
    stage.put_live()
    return Desk(stage)


def test_a_click_is_an_approval_that_names_no_actor(desk: Desk) -> None:
    answer = desk.send(desk.click(2))
    assert (answer.status, answer.outcome) == (202, "wanted")
    found = desk.newest()
    assert (found.model_version, found.digest) == (2, desk.stage.digest(2))
    assert found.source == f"webhook {answer.delivery}"
    [event] = desk.record.history("assay", 2)
    assert (event.kind, event.who, event.digest) == ("approved", "MLflow, actor not named", desk.stage.digest(2))
    assert answer.delivery is not None
    assert answer.delivery in event.why
    desk.record.verify_chain()


def test_forged_messages_change_nothing(desk: Desk) -> None:
    true = desk.click(2)
    headers, body = true.headers, true.body
    other = {**headers, "x-mlflow-delivery-id": "another"}
    forged = [
        desk.signed(2, secret="another secret, as long as it is"),
        Delivery(headers, body.replace(b'"2"', b'"1"')),
        Delivery(headers, body + b" "),
        Delivery(other, body),  # the id is signed too: a replay under a new one is found out
        Delivery({**headers, "x-mlflow-timestamp": str(int(desk.clock.now) + 1)}, body),
        Delivery({**headers, "x-mlflow-timestamp": "soon"}, body),
        Delivery({**headers, "x-mlflow-signature": headers["x-mlflow-signature"].removeprefix("v1,")}, body),
        Delivery({**headers, "x-mlflow-signature": "v1,é"}, body),
        Delivery({}, body),
        *(Delivery({key: value for key, value in headers.items() if key != gone}, body) for gone in headers),
    ]
    for message in forged:
        answer = desk.send(message)
        assert (answer.status, answer.outcome) == (401, "unsigned"), message
    assert desk.record.newest_approval("production", "assay") is None
    assert desk.record.events() == []
    assert desk.send(true).status == 202


def test_a_replay_is_found_also_after_a_restart_and_after_its_time(desk: Desk) -> None:
    message = desk.click(2)
    assert desk.send(message).status == 202
    assert (desk.send(message).status, desk.send(message).outcome) == (200, "duplicate")
    desk.inbox = desk.restarted()
    assert desk.send(message).outcome == "duplicate"
    desk.clock.now += 10 * 86400
    assert desk.send(message).status == 401
    assert desk.kinds() == ["approved"]


@pytest.mark.parametrize("seconds", [310, -310])
def test_a_late_message_or_a_wrong_clock_is_refused(desk: Desk, seconds: float) -> None:
    message = desk.click(2)
    desk.clock.now += seconds
    answer = desk.send(message)
    assert answer.status == 401
    assert "more than 300 s from now" in answer.why
    desk.clock.now -= seconds + (10 if seconds > 0 else -10)
    assert desk.send(message).status == 202, "within the tolerance it counts"


def test_a_duplicate_under_another_id_is_the_same_approval(desk: Desk) -> None:
    """Two webhooks registered for one relay, or a second click while the first is under way."""
    first = desk.send(desk.click(2))
    second = desk.send(desk.click(2))
    assert first.approval is not None
    assert second.approval is not None
    assert (second.status, second.approval.id) == (202, first.approval.id)
    assert desk.kinds() == ["approved"]


def test_many_at_once_are_one_approval(desk: Desk) -> None:
    same, others = desk.click(2), [desk.signed(2) for _ in range(7)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(desk.send, [same] * 8 + others))
    assert [answer.outcome for answer in answers].count("duplicate") == 7
    assert {answer.status for answer in answers} <= {200, 202}
    assert desk.kinds() == ["approved"]


def test_reordered_messages_end_with_what_is_approved_now(desk: Desk) -> None:
    desk.stage.registry.set_aliases(3, None)
    old, new = desk.click(2), desk.click(1)
    answer = desk.send(new)
    assert answer.approval is not None
    assert answer.approval.model_version == 1
    late = desk.send(old)
    assert late.approval is not None
    assert late.approval.id == answer.approval.id, "the older message starts nothing of its own"
    assert desk.kinds() == ["approved"]


def test_an_old_message_tells_of_the_present_one(desk: Desk) -> None:
    """v2, v1, v2 again: whatever comes in whatever order, one approval of v2 is wanted."""
    desk.stage.registry.set_aliases(3, None)
    messages = [desk.click(2), desk.click(1), desk.click(2)]
    outcomes = [desk.send(message) for message in (messages[1], messages[2], messages[0])]
    assert {answer.approval.id for answer in outcomes if answer.approval} == {desk.newest().id}
    assert desk.newest().model_version == 2


def test_an_alias_that_moves_on_withdraws_what_was_wanted(desk: Desk) -> None:
    desk.stage.registry.set_aliases(3, None)
    desk.send(desk.click(1))
    desk.send(desk.click(2))
    assert desk.newest().model_version == 2
    assert desk.kinds() == ["approved", "approval_withdrawn", "approved"]
    approve(desk.stage, None)
    assert desk.send(desk.signed(2)).outcome == "ignored"
    assert desk.newest().standing is Standing.WITHDRAWN
    assert desk.send(desk.click(2)).outcome == "wanted"


@pytest.mark.parametrize(
    "changes", [{"alias": "candidate"}, {"alias": "champion"}, {"name": "another-model"}], ids=str
)
def test_other_aliases_and_models_are_ignored(desk: Desk, changes: dict[str, str]) -> None:
    approve(desk.stage, 2)
    answer = desk.send(desk.signed(2, **changes))
    assert (answer.status, answer.outcome) == (200, "ignored")
    assert desk.record.events() == []


def test_what_mlflow_does_not_send_is_ignored_or_said_to_be_wrong(desk: Desk) -> None:
    other = {"entity": "model_version", "action": "created", "timestamp": "2026-11-24T10:00:00+00:00", "data": {}}
    assert desk.send(desk.sign(other)).outcome == "ignored"
    wrong: list[object] = [{"entity": "model_version_alias"}, [], other | {"entity": "model_version_alias"}]
    for broken in wrong:
        answer = desk.send(desk.sign(broken))
        assert (answer.status, answer.outcome) == (400, "invalid")


def test_no_passing_evidence_is_refused_with_its_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path, evidence="inconclusive")
    stage.put_live()
    desk = Desk(stage)
    answer = desk.send(desk.click(2))
    assert (answer.status, answer.outcome) == (200, "refused")
    assert "no passing evidence" in answer.why
    assert desk.kinds() == ["approved", "approval_refused"]
    stage.registry.versions[2] = (stage.folders[2], stage.digest(2), "pass")
    assert desk.send(desk.click(2)).outcome == "wanted", "approved again, now that it passes"


def test_while_the_registry_is_down_the_same_delivery_may_come_again(desk: Desk) -> None:
    message = desk.click(2)
    desk.stage.registry.down = True
    assert (desk.send(message).status, desk.send(message).outcome) == (503, "unavailable")
    desk.stage.registry.down = False
    assert desk.send(message).status == 202


def test_a_click_after_the_end_is_a_new_approval_and_a_late_message_is_not(desk: Desk) -> None:
    first, late = desk.click(2), desk.signed(2)
    desk.send(first)
    desk.record.triggered(desk.newest(), "https://gitlab.example/1", desk.inbox.who, desk.clock.now)
    desk.rollout_ends(State.ABORTED)
    known = desk.newest().id
    assert desk.send(late).outcome == "triggered"
    assert desk.newest().id == known
    again = desk.send(desk.click(2))
    assert again.outcome == "wanted"
    assert desk.newest().id != known


def test_champion_already_or_under_way_already_needs_no_pipeline(desk: Desk) -> None:
    answer = desk.send(desk.click(1))
    assert (answer.status, answer.outcome, answer.why) == (200, "satisfied", "it is champion already")
    desk.stage.create()  # a person's own promote
    answer = desk.send(desk.click(2))
    assert answer.outcome == "satisfied"
    assert "carries it out already" in answer.why
