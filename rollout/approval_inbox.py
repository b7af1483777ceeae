"""One delivery of the webhook, from raw bytes to an answer. What it leads to is durable before it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from core.errors import RegistryError
from rollout import approval, approval_webhook
from rollout.aliases import APPROVED, Registry
from rollout.approval import Approval, Standing
from rollout.approval_record import ApprovalRecord
from rollout.approval_webhook import NotSignedError, NotUnderstoodError
from rollout.record import Who

SKEW_S = 300.0  # the Standard Webhooks' own tolerance


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
    """Safe for several threads, and beside `reconcile` in another process."""

    record: ApprovalRecord
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
            delivery = approval_webhook.verify(self.secret, headers, body, now, self.skew_s)
        except NotSignedError as error:
            return Answer(401, "unsigned", str(error))
        if (before := self.record.outcome_of(delivery)) is not None:
            return Answer(200, "duplicate", f"delivered before: {before}", delivery)
        try:
            told = approval_webhook.read(body)
        except NotUnderstoodError as error:
            return Answer(400, "invalid", str(error), delivery)
        if told is None or (told.model_name, told.alias) != (self.model_name, APPROVED):
            why = f"only alias '{APPROVED}' of {self.model_name} starts anything"
            return self._kept(Answer(200, "ignored", why, delivery), now)
        try:
            seen = approval.look(
                self.registry, self.environment, self.model_name, source=f"webhook {delivery}", at=now
            )
        except RegistryError as error:
            return Answer(503, "unavailable", str(error), delivery)
        # Only what `approved` is now counts. The signed time belongs to the version that the message names.
        if seen.approved is not None and seen.approved.number == told.version:
            seen = replace(seen, set_at=told.at)
        found = self.record.take(seen, self.who)
        if found is None:
            return self._kept(Answer(200, "ignored", f"alias '{APPROVED}' is not set any more", delivery), now)
        status = 202 if found.standing is Standing.WANTED else 200
        return self._kept(Answer(status, found.standing.value, found.why, delivery, found), now)

    def _kept(self, answer: Answer, now: float) -> Answer:
        assert answer.delivery is not None
        if not self.record.keep_delivery(answer.delivery, answer.outcome, now):
            return replace(answer, status=200, outcome="duplicate", why="delivered twice at once")
        return answer
