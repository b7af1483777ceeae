"""MLflow's webhook for alias `approved`: its signature, what becomes of a delivery, and how MLflow is subscribed.

MLflow (3.17, mlflow/webhooks/delivery.py) signs `<delivery id>.<timestamp>.<body>` with HMAC-SHA256. Its own retries
of one delivery carry the same id, time and signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from approval import standing
from approval.ledger import ApprovalLedger
from approval.standing import Approval, Standing
from core.errors import AssayError, ConfigError, RegistryError, wrong_fields
from registry import store
from rollout.aliases import APPROVED, Registry
from rollout.record import Who

ID, TIMESTAMP, SIGNATURE = "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"
VERSION = "v1"
MAX_ID = 128  # characters
EVENT = "model_version_alias.created"
SKEW_S = 300.0  # the Standard Webhooks' own tolerance
PATH = "/webhooks/mlflow"  # where the relay listens
NAME = "assay-approval"  # of the webhook in MLflow
LOG = logging.getLogger("assay.relay")


class SignatureError(AssayError):
    """Not signed by MLflow, or too long ago: 401."""


class PayloadError(AssayError):
    """Signed, but not what MLflow sends: 400."""


@dataclass(frozen=True)
class AliasSet:
    """An alias was set. `at`: MLflow's clock, UNIX time in seconds."""

    model_name: str
    alias: str
    version: int
    at: float


class _Data(BaseModel):
    name: str
    alias: str
    version: int = Field(ge=1)


class _Payload(BaseModel):
    entity: str
    action: str
    timestamp: AwareDatetime
    data: dict[str, object]


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """The value of X-MLflow-Signature."""
    content = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"{VERSION},{base64.b64encode(digest).decode()}"


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float, skew_s: float) -> str:
    """The delivery id, when `body` was signed with `secret` at most `skew_s` before or after `now`.

    The body is compared as it came, before anything reads it, in constant time. Raises SignatureError.
    """
    found = {name: headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE)}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise SignatureError(f"no header {', '.join(missing)}: register the webhook with a secret")
    delivery_id, timestamp = found[ID], found[TIMESTAMP]
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 11 or len(delivery_id) > MAX_ID:
        raise SignatureError(f"{TIMESTAMP} is not a UNIX time, or {ID} is longer than {MAX_ID} characters")
    if not hmac.compare_digest(sign(secret, delivery_id, timestamp, body).encode(), found[SIGNATURE].encode()):
        raise SignatureError("signature mismatch: the secret differs, or the message was changed")
    if abs(now - int(timestamp)) > skew_s:
        signed = datetime.fromtimestamp(int(timestamp), UTC).isoformat()
        raise SignatureError(
            f"signed at {signed}, more than {skew_s:.0f} s from now: delivered late, or a clock is off"
        )
    return delivery_id


def read(body: bytes) -> AliasSet | None:
    """What a verified body says; None when it is about something else. Raises PayloadError."""
    try:
        payload = _Payload.model_validate_json(body)
        if f"{payload.entity}.{payload.action}" != EVENT:
            return None
        data = _Data.model_validate(payload.data)
    except ValidationError as error:
        raise PayloadError(f"not a webhook of MLflow 3.17 ({wrong_fields(error)})") from error
    return AliasSet(data.name, data.alias, data.version, payload.timestamp.timestamp())


@dataclass(frozen=True)
class Answer:
    """`status` is HTTP's; `outcome` is one word for logs and tests."""

    status: int
    outcome: str  # unsigned, invalid, ignored, duplicate, unavailable, or where the approval stands
    why: str
    delivery: str | None = None
    approval: Approval | None = None


@dataclass(frozen=True)
class Inbox:
    """Takes deliveries. What one leads to is durable before it is answered.

    Safe for several threads, and beside `reconcile` in another process.
    """

    ledger: ApprovalLedger
    registry: Registry
    environment: str
    model_name: str
    secret: str
    who: Who
    skew_s: float = SKEW_S
    clock: Callable[[], float] = time.time

    def receive(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """`headers` with lower-case names. Never raises for what a sender can do.

        A delivery counts as dealt with only once its outcome is certain: while the registry does not answer it is
        503, and MLflow sends the same delivery again.
        """
        now = self.clock()
        try:
            delivery = verify(self.secret, headers, body, now, self.skew_s)
        except SignatureError as error:
            return Answer(401, "unsigned", str(error))
        if (before := self.ledger.outcome_of(delivery)) is not None:
            return Answer(200, "duplicate", f"delivered before: {before}", delivery)
        try:
            alias = read(body)
        except PayloadError as error:
            return Answer(400, "invalid", str(error), delivery)
        if alias is None or (alias.model_name, alias.alias) != (self.model_name, APPROVED):
            why = f"only alias '{APPROVED}' of {self.model_name} starts anything"
            return self._kept(Answer(200, "ignored", why, delivery), now)
        try:
            seen = standing.look(
                self.registry, self.environment, self.model_name, source=f"webhook {delivery}", at=now
            )
        except RegistryError as error:
            return Answer(503, "unavailable", str(error), delivery)
        # Only what `approved` is now counts. The signed time belongs to the version that the message names.
        if seen.approved is not None and seen.approved.number == alias.version:
            seen = replace(seen, set_at=alias.at)
        found = self.ledger.take(seen, self.who)
        if found is None:
            return self._kept(Answer(200, "ignored", f"alias '{APPROVED}' is not set any more", delivery), now)
        status = 202 if found.standing is Standing.WANTED else 200
        return self._kept(Answer(status, found.standing.value, found.why, delivery, found), now)

    def _kept(self, answer: Answer, now: float) -> Answer:
        assert answer.delivery is not None
        if not self.ledger.keep_delivery(answer.delivery, answer.outcome, now):
            return replace(answer, status=200, outcome="duplicate", why="delivered twice at once")
        return answer


def subscribe(client: Any, url: str, key: str) -> None:
    """Have MLflow send to `url`, and send a test, which shows that it arrives and that both sides share the secret.

    Raises ConfigError when MLflow is not a server, RegistryError when the test fails.
    """
    if not store.store().startswith("http"):
        raise ConfigError(
            f"{store.store()} is not an MLflow server, which alone sends webhooks: set MLFLOW_TRACKING_URI to one"
        )
    with store.faults():
        page = client.list_webhooks(max_results=100)
        mine = [webhook for webhook in page if webhook.name == NAME]
        about = "alias `approved` starts a rollout (docs/approval.md)"
        how = {"url": url, "events": [EVENT], "description": about, "secret": key, "status": "ACTIVE"}
        made = client.update_webhook(mine[0].webhook_id, **how) if mine else client.create_webhook(NAME, **how)
        tried = client.test_webhook(made.webhook_id)
    if not tried.success:
        reason = tried.error_message or f"{tried.response_status} {tried.response_body}"
        raise RegistryError(f"webhook {NAME} is registered, but its test did not arrive at {url}: {reason}")
    LOG.info("webhook %s sends to %s, and a test arrived", NAME, url)
