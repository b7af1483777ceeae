"""Events that cannot be changed unseen: each carries the SHA-256 of itself and of the one before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from core.errors import RolloutError
from core.files import sha256_bytes

START = "0" * 64

# The chain finds a change in the middle; `head` finds events cut off at the end by somebody who only knows `events`.
# Print the head where others keep it (a job's log) and pass it to `verify` later to find a chain that was rewritten.
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY, at REAL NOT NULL, environment TEXT NOT NULL, rollout_id TEXT, kind TEXT NOT NULL,
  who TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, model_name TEXT, model_version INTEGER,
  digest TEXT, evidence_sha256 TEXT, pipeline_url TEXT, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS evidence (sha256 TEXT PRIMARY KEY, content TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS events_no_update BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_no_delete BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_no_gap BEFORE INSERT ON events
  WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM events)
  BEGIN SELECT RAISE(ABORT, 'events are numbered without gaps'); END;
"""


@dataclass(frozen=True)
class Event:
    """One line of the audit log."""

    at: float  # UNIX time, seconds
    environment: str
    rollout_id: str | None
    kind: str  # created, transition, effect, measured, approve, cancel, alias_moved, …
    who: str  # person or service account
    what: str
    why: str
    model_name: str | None = None
    model_version: int | None = None
    digest: str | None = None  # manifest of the version
    evidence_sha256: str | None = None  # of the JSON that the reason rests on
    pipeline_url: str | None = None
    seq: int = 0  # set by `append`, like the two below
    previous: str = ""
    hash: str = ""


def append(connection: sqlite3.Connection, event: Event, evidence: str | None = None) -> Event:
    """Add `event` inside the caller's transaction and return it with its number and hash.

    `evidence` is the JSON that the reason rests on; it is kept beside, under its own digest.
    """
    seq, previous = connection.execute("SELECT seq, hash FROM head").fetchone() or (0, START)
    fields = asdict(event) | {"seq": seq + 1, "previous": previous}
    if evidence is not None:
        fields["evidence_sha256"] = sha256_bytes(evidence.encode())
        connection.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?)", (fields["evidence_sha256"], evidence))
    fields["hash"] = _hash(fields)
    names = ", ".join(fields)
    marks = ", ".join(f":{name}" for name in fields)
    connection.execute(f"INSERT INTO events ({names}) VALUES ({marks})", fields)
    connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (seq + 1, fields["hash"]))
    return Event(**fields)


def read(connection: sqlite3.Connection, where: str = "1", values: tuple[object, ...] = ()) -> Iterator[Event]:
    """Events in order, chosen by a condition on their columns."""
    names = list(Event.__dataclass_fields__)
    for row in connection.execute(f"SELECT {', '.join(names)} FROM events WHERE {where} ORDER BY seq", values):
        yield Event(**dict(zip(names, row, strict=True)))


def verify(connection: sqlite3.Connection, head: str | None = None) -> tuple[int, str]:
    """Number of events and hash of the last one. Raises RolloutError that names the first event that does not fit.

    `head` is a hash printed earlier: it must still be in the chain.
    """
    previous, count, seen = START, 0, head is None
    for event in read(connection):
        count += 1
        fields = asdict(event)
        if event.seq != count or event.previous != previous or event.hash != _hash(fields):
            raise RolloutError(
                f"event {event.seq} ({event.kind}, {event.what}) was changed, or one before it was removed: the "
                f"record is not to be trusted from event {count} on; compare it with a backup"
            )
        previous = event.hash
        seen = seen or previous == head
        if event.evidence_sha256 and not _kept(connection, event.evidence_sha256):
            raise RolloutError(f"the evidence of event {event.seq} ({event.what}) was changed or removed")
    kept = connection.execute("SELECT seq, hash FROM head").fetchone() or (0, START)
    if kept != (count, previous):
        raise RolloutError(f"the record ends at event {count}, but event {kept[0]} was written: events were cut off")
    if not seen:
        raise RolloutError(
            f"the chain is whole, but {head} is not in it: it was written anew, or the head is another's"
        )
    return count, previous


def _kept(connection: sqlite3.Connection, digest: str) -> bool:
    row = connection.execute("SELECT content FROM evidence WHERE sha256 = ?", (digest,)).fetchone()
    return row is not None and sha256_bytes(row[0].encode()) == digest


def _hash(fields: dict[str, object]) -> str:
    content = {name: value for name, value in fields.items() if name != "hash"}
    return sha256_bytes(json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())
