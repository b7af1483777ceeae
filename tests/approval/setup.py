"""What tests of approvals share: an alias moved as a person would, and webhooks as MLflow signs them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from approval import webhook
from approval.ledger import ApprovalLedger
from approval.standing import Approval, PipelineError
from approval.webhook import Answer, Inbox
from core.errors import RolloutError
from core.files import write_text
from rollout import planning
from rollout.states import State
from tests.rollout.stage import WHO, Stage

SECRET = "a secret of 32 characters, or so"


def approve(stage: Stage, number: int | None) -> None:
    """Set alias `approved`, or remove it."""
    path = stage.registry.path
    aliases = json.loads(path.read_text()) | {"approved": number}
    write_text(path, json.dumps(aliases))


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Delivery:
    """One signed message; sending it again is MLflow's own retry, or a replay."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Setup:
    """A stage with its inbox."""

    stage: Stage
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.record = ApprovalLedger(self.stage.record.path)
        self.inbox = self.restarted()

    def restarted(self) -> Inbox:
        """A relay's inbox on the same database, as after a restart."""
        record = ApprovalLedger(self.stage.record.path)
        return Inbox(record, self.stage.registry, "production", "assay", SECRET, WHO, clock=self.clock)

    def click(self, number: int) -> Delivery:
        """The alias is set now; the message is on its way."""
        approve(self.stage, number)
        self.clock.now += 1
        return self.signed(number)

    def signed(self, number: int, alias: str = "approved", name: str = "assay", secret: str = SECRET) -> Delivery:
        """What MLflow sends at this moment."""
        data = {"name": name, "alias": alias, "version": str(number)}
        at = datetime.fromtimestamp(self.clock.now, UTC).isoformat()
        return self.sign(
            {"entity": "model_version_alias", "action": "created", "timestamp": at, "data": data}, secret
        )

    def sign(self, payload: object, secret: str = SECRET) -> Delivery:
        body, delivery_id, timestamp = json.dumps(payload).encode(), str(uuid.uuid4()), str(int(self.clock.now))
        headers = {
            "x-mlflow-delivery-id": delivery_id,
            "x-mlflow-timestamp": timestamp,
            "x-mlflow-signature": webhook.sign(secret, delivery_id, timestamp, body),
        }
        return Delivery(headers, body)

    def send(self, delivery: Delivery) -> Answer:
        self.clock.now += 0.1
        return self.inbox.receive(delivery.headers, delivery.body)

    def newest(self) -> Approval:
        found = self.record.newest_approval("production", "assay")
        assert found is not None
        return found

    def kinds(self) -> list[str]:
        """Of the events that belong to no rollout."""
        return [event.kind for event in self.record.events("rollout_id IS NULL")]

    def rollout_ends(self, state: State) -> None:
        """A rollout of version 2 begins now and ends so a minute later."""
        self.clock.now += 1
        plan = planning.promote("assay", 2, self.stage.registry, self.stage.target)
        rollout = self.record.create("production", plan, WHO, "approved", self.clock.now)
        self.clock.now += 60
        self.record.move(rollout, state, "made by the test", rollout.progress, WHO, self.clock.now)


@dataclass
class Pipelines:
    """Takes what it is given, or raises what it was given to raise."""

    errors: list[RolloutError] = field(default_factory=list)
    taken: list[Approval] = field(default_factory=list)

    def trigger(self, approval: Approval) -> str:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(approval)
        return f"https://gitlab.example/pipelines/{len(self.taken)}"


def down(lasting: bool = False) -> PipelineError:
    return PipelineError("GitLab is down", lasting)
