"""MLflow's signed webhook: who may speak, and what is said. Pure.

MLflow (3.17, mlflow/webhooks/delivery.py) signs `<delivery id>.<timestamp>.<body>` with HMAC-SHA256. Its own retries
of one delivery carry the same id, time and signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from core.errors import AssayError, wrong_fields

ID, TIMESTAMP, SIGNATURE = "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"
VERSION = "v1"
MAX_ID = 128  # characters
EVENT = "model_version_alias.created"


class NotSignedError(AssayError):
    """Not from MLflow, or too old to tell: 401."""


class NotUnderstoodError(AssayError):
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

    The body is compared as it came, before anything reads it, in constant time. Raises NotSignedError.
    """
    found = {name: headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE)}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise NotSignedError(f"no header {', '.join(missing)}: register the webhook with a secret")
    delivery_id, timestamp = found[ID], found[TIMESTAMP]
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 11 or len(delivery_id) > MAX_ID:
        raise NotSignedError(f"{TIMESTAMP} is no UNIX time, or {ID} is longer than {MAX_ID} characters")
    if not hmac.compare_digest(sign(secret, delivery_id, timestamp, body).encode(), found[SIGNATURE].encode()):
        raise NotSignedError("the signature does not fit: the secret is another one, or the message was changed")
    if abs(now - int(timestamp)) > skew_s:
        told = datetime.fromtimestamp(int(timestamp), UTC).isoformat()
        raise NotSignedError(f"signed at {told}, more than {skew_s:.0f} s from now: too late, or a clock is wrong")
    return delivery_id


def read(body: bytes) -> AliasSet | None:
    """What a verified body says; None when it tells of something else. Raises NotUnderstoodError."""
    try:
        payload = _Payload.model_validate_json(body)
        if f"{payload.entity}.{payload.action}" != EVENT:
            return None
        data = _Data.model_validate(payload.data)
    except ValidationError as error:
        raise NotUnderstoodError(f"not a webhook of MLflow 3.17 ({wrong_fields(error)})") from error
    return AliasSet(data.name, data.alias, data.version, payload.timestamp.timestamp())
