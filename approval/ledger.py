"""Approvals and webhook deliveries in the rollout record's own database, so that row and event go together."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import fields, replace
from pathlib import Path

from approval import standing
from approval.standing import Approval, Seen, Standing
from rollout import aliases, chain
from rollout.chain import Event
from rollout.record import Rollout, RolloutRecord, Who

SCHEMA = """
CREATE TABLE IF NOT EXISTS approvals (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, model_name TEXT NOT NULL, model_version INTEGER NOT NULL,
  digest TEXT NOT NULL, source TEXT NOT NULL, seen_at REAL NOT NULL, since REAL NOT NULL, standing TEXT NOT NULL,
  why TEXT NOT NULL, changed_at REAL NOT NULL, attempts INTEGER NOT NULL, tried_at REAL, answered_at REAL,
  pipeline_url TEXT, left_at REAL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_wanted ON approvals (environment, model_name) WHERE standing = 'wanted';
CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, at REAL NOT NULL, outcome TEXT NOT NULL) STRICT;
"""
NAMES = [field.name for field in fields(Approval)]
APPROVER = "MLflow, actor not named"  # neither its webhook nor its registry says who set the alias
KEPT_S = 7 * 86400.0  # deliveries; one that is older than the clock skew is refused by its time


class ApprovalLedger(RolloutRecord):
    """The rollout record with its approvals."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._read() as connection:
            connection.executescript(SCHEMA)

    def newest_approval(self, environment: str, model_name: str) -> Approval | None:
        """The last one, whatever became of it."""
        with self._read() as connection:
            row = connection.execute(
                f"SELECT {', '.join(NAMES)} FROM approvals WHERE environment = ? AND model_name = ? "
                "ORDER BY seen_at DESC, rowid DESC LIMIT 1",
                (environment, model_name),
            ).fetchone()
        if row is None:
            return None
        values = dict(zip(NAMES, row, strict=True))
        return Approval(**values | {"standing": Standing(values["standing"])})

    def rollout_of(self, found: Approval) -> Rollout | None:
        """The newest rollout that carries it out."""
        mine = [one for one in self._promotes(found.environment, found.digest) if one.created_at >= found.since]
        return mine[-1] if mine else None

    def outcome_of(self, delivery_id: str) -> str | None:
        """What was answered to this delivery, or None when it is new."""
        with self._read() as connection:
            row = connection.execute("SELECT outcome FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
        return row[0] if row else None

    def keep_delivery(self, delivery_id: str, outcome: str, now: float) -> bool:
        """Remember it; False when it is there already, which two at once find out here."""
        with self._write() as connection:
            connection.execute("DELETE FROM deliveries WHERE at < ?", (now - KEPT_S,))
            added = connection.execute(
                "INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?)", (delivery_id, now, outcome)
            )
            return added.rowcount == 1

    def take(self, seen: Seen, who: Who) -> Approval | None:
        """Make of one look what `standing.judge` says, and return the approval that holds now, or None."""
        with self._write() as connection:
            last = self.newest_approval(seen.environment, seen.model_name)
            judged = self.judge(seen, last)
            if last is not None and judged.known:
                if judged.standing not in (None, last.standing):
                    self._set(connection, last, standing=judged.standing, why=judged.why, changed_at=seen.at)
                    chain.append(connection, _stands(last, judged, who, seen.at))
                return self.newest_approval(seen.environment, seen.model_name)
            if last is not None and last.left_at is None:
                self._leave(connection, last, seen, who)
            if seen.approved is None or judged.standing is None:
                return None
            made = Approval(
                id=f"a{seen.at:.0f}-{uuid.uuid4().hex[:8]}",
                environment=seen.environment,
                model_name=seen.model_name,
                model_version=seen.approved.number,
                digest=seen.approved.digest,
                source=seen.source,
                seen_at=seen.at,
                since=judged.since,
                standing=judged.standing,
                why=judged.why,
                changed_at=seen.at,
            )
            marks = ", ".join(f":{name}" for name in NAMES)
            connection.execute(f"INSERT INTO approvals ({', '.join(NAMES)}) VALUES ({marks})", vars(made))
            what = f"version {made.model_version} approved"
            chain.append(connection, _event(made, "approved", Who(APPROVER), what, f"source: {made.source}", seen.at))
            if made.standing is not Standing.WANTED:
                chain.append(connection, _stands(made, judged, who, seen.at))
            return made

    def judge(self, seen: Seen, last: Approval | None) -> standing.Judgement:
        """What `seen` means beside what is recorded; writes nothing."""
        seen = replace(seen, champion=self.true_champion(seen))
        rollouts = self._promotes(seen.environment, seen.approved.digest) if seen.approved else []
        return standing.judge(seen, last, self.rollout_of(last) if last else None, rollouts)

    def true_champion(self, seen: Seen) -> int | None:
        """By the last rollout that succeeded, as the alias may have been changed manually; without one, the alias."""
        wanted = aliases.expected_champion(self, seen.environment)
        return seen.champion if wanted is None else wanted

    def intend_trigger(self, found: Approval, who: Who, now: float) -> None:
        """Written before GitLab is called. A former trigger without an outcome becomes an event."""
        with self._write() as connection:
            if found.interrupted:
                why = "the process ended before it recorded an outcome; triggered again, as GitLab may not have it"
                chain.append(connection, _event(found, "interrupted", who, "trigger", why, now))
            self._set(connection, found, tried_at=now, attempts=found.attempts + 1)

    def triggered(self, found: Approval, url: str, who: Who, now: float) -> None:
        """GitLab has it."""
        why = f"{found.source} showed version {found.model_version} approved"
        with self._write() as connection:
            self._set(
                connection,
                found,
                standing=Standing.TRIGGERED,
                why=f"pipeline {url} was triggered",
                changed_at=now,
                answered_at=now,
                pipeline_url=url,
            )
            chain.append(connection, _event(found, "trigger", who, "pipeline triggered", why, now, url))

    def not_triggered(self, found: Approval, why: str, who: Who, now: float, tried: bool = True) -> None:
        """It stays wanted. The reason becomes an event when it is another one than last time."""
        with self._write() as connection:
            self._set(connection, found, why=why, **({"answered_at": now} if tried else {}))
            if why != found.why:
                kind = "trigger_failed" if tried else "trigger_waits"
                chain.append(connection, _event(found, kind, who, "no pipeline yet", why, now))

    def _leave(self, connection: sqlite3.Connection, last: Approval, seen: Seen, who: Who) -> None:
        """The alias points elsewhere, or was set again."""
        self._set(connection, last, left_at=seen.at)
        if last.standing is Standing.WANTED:
            now_at = f"version {seen.approved.number}" if seen.approved else "not set"
            why = f"before it was triggered: alias 'approved' is {now_at} now"
            self._set(connection, last, standing=Standing.WITHDRAWN, why=why, changed_at=seen.at)
            event = _event(last, "approval_withdrawn", who, f"version {last.model_version} withdrawn", why, seen.at)
            chain.append(connection, event)

    def _promotes(self, environment: str, digest: str) -> list[Rollout]:
        """Rollouts that bring this digest to the front, oldest first. Going back to it is none."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT id FROM rollouts WHERE environment = ? AND json_extract(plan, '$.version.digest') = ? "
                "AND json_extract(plan, '$.kind') <> 'rollback' ORDER BY created_at, rowid",
                (environment, digest),
            ).fetchall()
        return [self.get(row[0]) for row in rows]

    def _set(self, connection: sqlite3.Connection, found: Approval, **values: object) -> None:
        marks = ", ".join(f"{name} = ?" for name in values)
        connection.execute(f"UPDATE approvals SET {marks} WHERE id = ?", (*values.values(), found.id))


def _stands(found: Approval, judged: standing.Judgement, who: Who, now: float) -> Event:
    """What one look decided about it."""
    what = f"version {found.model_version} approved"
    return _event(found, f"approval_{judged.standing}", who, what, judged.why, now)


def _event(found: Approval, kind: str, who: Who, what: str, why: str, now: float, url: str | None = None) -> Event:
    return Event(
        at=now,
        environment=found.environment,
        rollout_id=None,
        kind=kind,
        who=who.name,
        what=what,
        why=why,
        model_name=found.model_name,
        model_version=found.model_version,
        digest=found.digest,
        pipeline_url=url or who.pipeline_url,
    )
