"""Forged, replayed, late, duplicated and reordered webhooks, each answered as it should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from approval.standing import Standing
from rollout.states import State
from tests.approval.setup import Delivery, Setup, approve
from tests.rollout.stage import Stage


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    stage = Stage(tmp_path)
    stage.put_live()
    return Setup(stage)


def test_a_click_is_an_approval_that_names_no_actor(setup: Setup) -> None:
    answer = setup.send(setup.click(2))
    assert (answer.status, answer.outcome) == (202, "wanted")
    found = setup.newest()
    assert (found.model_version, found.digest) == (2, setup.stage.digest(2))
    assert found.source == f"webhook {answer.delivery}"
    [event] = setup.record.history("assay", 2)
    assert (event.kind, event.who, event.digest) == ("approved", "MLflow, actor not named", setup.stage.digest(2))
    assert answer.delivery is not None
    assert answer.delivery in event.why
    setup.record.verify_chain()


def test_forged_messages_change_nothing(setup: Setup) -> None:
    true = setup.click(2)
    headers, body = true.headers, true.body
    other = {**headers, "x-mlflow-delivery-id": "another"}
    forged = [
        setup.signed(2, secret="another secret, as long as it is"),
        Delivery(headers, body.replace(b'"2"', b'"1"')),
        Delivery(headers, body + b" "),
        Delivery(other, body),  # the id is signed too: a replay under a new one is found out
        Delivery({**headers, "x-mlflow-timestamp": str(int(setup.clock.now) + 1)}, body),
        Delivery({**headers, "x-mlflow-timestamp": "soon"}, body),
        Delivery({**headers, "x-mlflow-signature": headers["x-mlflow-signature"].removeprefix("v1,")}, body),
        Delivery({**headers, "x-mlflow-signature": "v1,é"}, body),
        Delivery({}, body),
        *(Delivery({key: value for key, value in headers.items() if key != gone}, body) for gone in headers),
    ]
    for message in forged:
        answer = setup.send(message)
        assert (answer.status, answer.outcome) == (401, "unsigned"), message
    assert setup.record.newest_approval("production", "assay") is None
    assert setup.record.events() == []
    assert setup.send(true).status == 202


def test_a_replay_is_found_also_after_a_restart_and_after_its_time(setup: Setup) -> None:
    message = setup.click(2)
    assert setup.send(message).status == 202
    assert (setup.send(message).status, setup.send(message).outcome) == (200, "duplicate")
    setup.inbox = setup.restarted()
    assert setup.send(message).outcome == "duplicate"
    setup.clock.now += 10 * 86400
    assert setup.send(message).status == 401
    assert setup.kinds() == ["approved"]


@pytest.mark.parametrize("seconds", [310, -310])
def test_a_late_message_or_a_wrong_clock_is_refused(setup: Setup, seconds: float) -> None:
    message = setup.click(2)
    setup.clock.now += seconds
    answer = setup.send(message)
    assert answer.status == 401
    assert "more than 300 s from now" in answer.why
    setup.clock.now -= seconds + (10 if seconds > 0 else -10)
    assert setup.send(message).status == 202, "within the tolerance it counts"


def test_a_duplicate_under_another_id_is_the_same_approval(setup: Setup) -> None:
    """Two webhooks registered for one relay, or a second click while the first is under way."""
    first = setup.send(setup.click(2))
    second = setup.send(setup.click(2))
    assert first.approval is not None
    assert second.approval is not None
    assert (second.status, second.approval.id) == (202, first.approval.id)
    assert setup.kinds() == ["approved"]


def test_many_at_once_are_one_approval(setup: Setup) -> None:
    same, others = setup.click(2), [setup.signed(2) for _ in range(7)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(setup.send, [same] * 8 + others))
    assert [answer.outcome for answer in answers].count("duplicate") == 7
    assert {answer.status for answer in answers} <= {200, 202}
    assert setup.kinds() == ["approved"]


def test_reordered_messages_end_with_what_is_approved_now(setup: Setup) -> None:
    setup.stage.registry.set_aliases(3, None)
    old, new = setup.click(2), setup.click(1)
    answer = setup.send(new)
    assert answer.approval is not None
    assert answer.approval.model_version == 1
    late = setup.send(old)
    assert late.approval is not None
    assert late.approval.id == answer.approval.id, "the older message starts nothing of its own"
    assert setup.kinds() == ["approved"]


def test_an_old_message_tells_of_the_present_one(setup: Setup) -> None:
    """v2, v1, v2 again: whatever comes in whatever order, one approval of v2 is wanted."""
    setup.stage.registry.set_aliases(3, None)
    messages = [setup.click(2), setup.click(1), setup.click(2)]
    outcomes = [setup.send(message) for message in (messages[1], messages[2], messages[0])]
    assert {answer.approval.id for answer in outcomes if answer.approval} == {setup.newest().id}
    assert setup.newest().model_version == 2


def test_an_alias_that_moves_on_withdraws_what_was_wanted(setup: Setup) -> None:
    setup.stage.registry.set_aliases(3, None)
    setup.send(setup.click(1))
    setup.send(setup.click(2))
    assert setup.newest().model_version == 2
    assert setup.kinds() == ["approved", "approval_withdrawn", "approved"]
    approve(setup.stage, None)
    assert setup.send(setup.signed(2)).outcome == "ignored"
    assert setup.newest().standing is Standing.WITHDRAWN
    assert setup.send(setup.click(2)).outcome == "wanted"


@pytest.mark.parametrize(
    "changes", [{"alias": "candidate"}, {"alias": "champion"}, {"name": "another-model"}], ids=str
)
def test_other_aliases_and_models_are_ignored(setup: Setup, changes: dict[str, str]) -> None:
    approve(setup.stage, 2)
    answer = setup.send(setup.signed(2, **changes))
    assert (answer.status, answer.outcome) == (200, "ignored")
    assert setup.record.events() == []


def test_what_mlflow_does_not_send_is_ignored_or_said_to_be_wrong(setup: Setup) -> None:
    other = {"entity": "model_version", "action": "created", "timestamp": "2026-11-24T10:00:00+00:00", "data": {}}
    assert setup.send(setup.sign(other)).outcome == "ignored"
    wrong: list[object] = [{"entity": "model_version_alias"}, [], other | {"entity": "model_version_alias"}]
    for broken in wrong:
        answer = setup.send(setup.sign(broken))
        assert (answer.status, answer.outcome) == (400, "invalid")


def test_no_passing_evidence_is_refused_with_its_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path, evidence="inconclusive")
    stage.put_live()
    setup = Setup(stage)
    answer = setup.send(setup.click(2))
    assert (answer.status, answer.outcome) == (200, "refused")
    assert "no passing evidence" in answer.why
    assert setup.kinds() == ["approved", "approval_refused"]
    stage.registry.versions[2] = (stage.folders[2], stage.digest(2), "pass")
    assert setup.send(setup.click(2)).outcome == "wanted", "approved again, now that it passes"


def test_while_the_registry_is_down_the_same_delivery_may_come_again(setup: Setup) -> None:
    message = setup.click(2)
    setup.stage.registry.down = True
    assert (setup.send(message).status, setup.send(message).outcome) == (503, "unavailable")
    setup.stage.registry.down = False
    assert setup.send(message).status == 202


def test_a_click_after_the_end_is_a_new_approval_and_a_late_message_is_not(setup: Setup) -> None:
    first, late = setup.click(2), setup.signed(2)
    setup.send(first)
    setup.record.triggered(setup.newest(), "https://gitlab.example/1", setup.inbox.who, setup.clock.now)
    setup.rollout_ends(State.ABORTED)
    known = setup.newest().id
    assert setup.send(late).outcome == "triggered"
    assert setup.newest().id == known
    again = setup.send(setup.click(2))
    assert again.outcome == "wanted"
    assert setup.newest().id != known


def test_champion_already_or_under_way_already_needs_no_pipeline(setup: Setup) -> None:
    answer = setup.send(setup.click(1))
    assert (answer.status, answer.outcome, answer.why) == (200, "satisfied", "it is champion already")
    setup.stage.create()  # a person's own promote
    answer = setup.send(setup.click(2))
    assert answer.outcome == "satisfied"
    assert "carries it out already" in answer.why
