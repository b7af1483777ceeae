"""The rollout record: SQLite (WAL). What is under way, what was about to be done, and the append-only events.

One unfinished rollout for each environment, held by the database itself; a new id for each attempt. An intent is
written before each side effect and closed after it: an open one shows a restart what may or may not have happened.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from core.errors import RolloutError
from core.records import Record
from rollout import chain
from rollout.analysis import Answers, Figures, Measurement
from rollout.chain import Event
from rollout.states import TERMINAL, Effect, Plan, State
from rollout.targets import Sample

SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, created_at REAL NOT NULL, plan TEXT NOT NULL, state TEXT NOT NULL,
  why TEXT NOT NULL, entered_at REAL NOT NULL, notes TEXT NOT NULL, finished INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_unfinished ON rollouts (environment) WHERE finished = 0;
CREATE TABLE IF NOT EXISTS intents (
  seq INTEGER PRIMARY KEY, rollout_id TEXT NOT NULL REFERENCES rollouts, effect TEXT NOT NULL, at REAL NOT NULL,
  done_at REAL, outcome TEXT
) STRICT;
"""
BUSY_S = 10.0  # another process may hold the write lock for this long
_PLAN = TypeAdapter(Plan)


class Progress(Record):
    """What the controller knows of a rollout beside its state; saved with every change, so that a successor goes on.

    Column `notes` of the database.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")  # as in a Measurement

    verification: str | None = None
    identity: str | None = None
    left_at: float | None = None
    measure_at: float | None = None  # when the next measurement is due
    first: tuple[Sample, Sample | None] | None = None  # own slot and baseline, at the phase's begin
    last: tuple[Sample, Sample | None] | None = None  # … at the last measurement
    own_answers: Answers = Answers()
    baseline_answers: Answers = Answers()  # the live slot's, before the switch
    baseline: Figures | None = None  # the live slot's, before the switch
    taken: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """One attempt. `why` is the reason of its present state."""

    id: str
    environment: str
    created_at: float
    plan: Plan
    state: State
    why: str
    entered_at: float
    progress: Progress

    @property
    def finished(self) -> bool:
        """In a terminal state."""
        return self.state in TERMINAL


@dataclass(frozen=True)
class Who:
    """Who asks, and the pipeline that carries it out."""

    name: str
    pipeline_url: str | None = None


@dataclass(frozen=True)
class Intended:
    """What became of one kind of effect: how often it succeeded, and when the last of those was begun."""

    succeeded: int
    last_at: float | None


class RolloutRecord:
    """The open database. Every method is one transaction; for several processes and threads, not across a fork.

    Each raises RolloutError when the database cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._turn = threading.RLock()
        with self._as_rollout_error():
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(chain.SCHEMA + SCHEMA)

    def close_file(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def create(
        self, environment: str, plan: Plan, who: Who, why: str, now: float, ended: int | None = None
    ) -> Rollout:
        """A new rollout in Pending. Raises RolloutError when one is unfinished in this environment, or when one more
        has ended than the `ended` that were counted before planning: what the plan takes for live, and would go back
        to, may be what was just taken back.
        """
        rollout = Rollout(
            f"r{now:.0f}-{uuid.uuid4().hex[:8]}", environment, now, plan, State.PENDING, why, now, Progress()
        )
        row = (rollout.id, environment, now, _dump(plan), rollout.state, why, now, rollout.progress.model_dump_json())
        with self._write() as connection:
            if ended is not None and self.ended(environment) != ended:
                raise RolloutError(
                    f"a rollout has ended in {environment} while this one was planned, so its plan is out of date: "
                    "run the command again"
                )
            try:
                connection.execute("INSERT INTO rollouts VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", row)
            except sqlite3.IntegrityError:
                found = connection.execute(
                    "SELECT id, state FROM rollouts WHERE environment = ? AND finished = 0", (environment,)
                ).fetchone()
                raise RolloutError(
                    f"rollout {found[0]} is unfinished in {environment} ({found[1]}): let it finish, go on with it "
                    f"(`python -m pipelines.promote --resume`) or end it (`python -m pipelines.rollback`)"
                ) from None
            what = f"{plan.kind} to {plan.slot}"
            chain.append(connection, self._event(rollout, "created", who, what, why, now), _dump(plan))
        return rollout

    def ended(self, environment: str) -> int:
        """How many rollouts have ended."""
        with self._read() as connection:
            count = "SELECT COUNT(*) FROM rollouts WHERE environment = ? AND finished = 1"
            return int(connection.execute(count, (environment,)).fetchone()[0])

    def unfinished(self, environment: str) -> Rollout | None:
        """The rollout under way, or None."""
        return self._one("environment = ? AND finished = 0", environment)

    def latest(self, environment: str) -> Rollout | None:
        """The newest rollout, finished or not."""
        return self._one("environment = ?", environment)

    def newest(self, environment: str, *states: State) -> Rollout | None:
        """The newest rollout in one of `states`."""
        marks = ", ".join("?" * len(states))
        return self._one(f"environment = ? AND state IN ({marks})", environment, *states)

    def get(self, rollout_id: str) -> Rollout:
        """The rollout with this id. Raises RolloutError when there is none."""
        if (found := self._one("id = ?", rollout_id)) is None:
            raise RolloutError(f"no rollout {rollout_id} in {self.path}")
        return found

    def move(self, rollout: Rollout, state: State, why: str, progress: Progress, who: Who, now: float) -> Rollout:
        """Enter `state` with `progress`: row and event together. The progress so far is the event's evidence."""
        moved = replace(rollout, state=state, why=why, entered_at=now, progress=progress)
        with self._write() as connection:
            self._save(connection, moved)
            what = f"{rollout.state} -> {state}"
            evidence = rollout.progress.model_dump_json(exclude_defaults=True)
            chain.append(connection, self._event(rollout, "transition", who, what, why, now), evidence)
        return moved

    def save_progress(self, rollout: Rollout, progress: Progress) -> Rollout:
        """Save `progress` without an event."""
        noted = replace(rollout, progress=progress)
        with self._write() as connection:
            self._save(connection, noted)
        return noted

    def intend(self, rollout: Rollout, effect: Effect, now: float) -> int:
        """Write down that `effect` is about to be done; returns the intent's number."""
        with self._write() as connection:
            cursor = connection.execute(
                "INSERT INTO intents (rollout_id, effect, at) VALUES (?, ?, ?)", (rollout.id, effect, now)
            )
            return int(cursor.lastrowid or 0)

    def close(
        self, rollout: Rollout, progress: Progress, intent: int, outcome: str, who: Who, now: float, ok: bool = True
    ) -> Rollout:
        """The effect of `intent` came back: save its progress, its outcome and an event, together."""
        noted = replace(rollout, progress=progress)
        with self._write() as connection:
            self._save(connection, noted)
            effect = connection.execute("SELECT effect FROM intents WHERE seq = ?", (intent,)).fetchone()[0]
            connection.execute(
                "UPDATE intents SET done_at = ?, outcome = ? WHERE seq = ?",
                (now, ("ok: " if ok else "error: ") + outcome, intent),
            )
            kind = "effect" if ok else "effect_failed"
            chain.append(connection, self._event(rollout, kind, who, effect, outcome, now))
        return noted

    def close_interrupted(self, rollout: Rollout, who: Who, now: float) -> None:
        """Close what a killed controller left open. Whether it was done is seen in the world, not here."""
        why = "the controller ended before it recorded an outcome; what is there is observed again"
        with self._write() as connection:
            rows = connection.execute(
                "SELECT seq, effect FROM intents WHERE rollout_id = ? AND done_at IS NULL", (rollout.id,)
            ).fetchall()
            for seq, effect in rows:
                connection.execute("UPDATE intents SET done_at = ?, outcome = ? WHERE seq = ?", (now, why, seq))
                chain.append(connection, self._event(rollout, "interrupted", who, effect, why, now))

    def intended(self, rollout: Rollout) -> dict[Effect, Intended]:
        """Effects of this rollout that were ever intended, and what became of them."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT effect, COUNT(at) FILTER (WHERE outcome LIKE 'ok: %'), MAX(at) FILTER (WHERE outcome LIKE "
                "'ok: %') FROM intents WHERE rollout_id = ? GROUP BY effect",
                (rollout.id,),
            )
            return {Effect(effect): Intended(count, at) for effect, count, at in rows}

    def ask(self, rollout: Rollout, kind: str, who: Who, why: str, now: float) -> None:
        """Leave an `approve` or a `cancel` for the controller, which may be another process."""
        with self._write() as connection:
            if connection.execute("SELECT finished FROM rollouts WHERE id = ?", (rollout.id,)).fetchone()[0]:
                raise RolloutError(f"rollout {rollout.id} has ended: nothing to {kind}")
            chain.append(connection, self._event(rollout, kind, who, kind, why, now))

    def asked(self, rollout: Rollout, kind: str) -> str | None:
        """Who asked for `kind` and why, as one phrase, or None."""
        found = next(iter(self.events("rollout_id = ? AND kind = ?", rollout.id, kind)), None)
        return f"{found.who} ({found.why})" if found else None

    def append(self, event: Event) -> Event:
        """Add an event that belongs to no rollout, or changes none."""
        with self._write() as connection:
            return chain.append(connection, event)

    def events(self, where: str = "1", *values: object) -> list[Event]:
        """Events in order, chosen by a condition on their columns."""
        with self._read() as connection:
            return list(chain.read(connection, where, values))

    def history(self, model_name: str, model_version: int) -> list[Event]:
        """Everything that ever happened to one version."""
        return self.events("model_name = ? AND model_version = ?", model_name, model_version)

    def verify_chain(self, head: str | None = None) -> tuple[int, str]:
        """See chain.verify."""
        with self._read() as connection:
            return chain.verify(connection, head)

    def _event(self, rollout: Rollout, kind: str, who: Who, what: str, why: str, now: float) -> Event:
        version = rollout.plan.version
        return Event(
            at=now,
            environment=rollout.environment,
            rollout_id=rollout.id,
            kind=kind,
            who=who.name,
            what=what,
            why=why,
            model_name=version.model_name,
            model_version=version.model_version,
            digest=version.digest,
            pipeline_url=who.pipeline_url,
        )

    def _save(self, connection: sqlite3.Connection, rollout: Rollout) -> None:
        connection.execute(
            "UPDATE rollouts SET state = ?, why = ?, entered_at = ?, notes = ?, finished = ? WHERE id = ?",
            (
                rollout.state,
                rollout.why,
                rollout.entered_at,
                rollout.progress.model_dump_json(),
                int(rollout.finished),
                rollout.id,
            ),
        )

    def _one(self, where: str, *values: str) -> Rollout | None:
        with self._read() as connection:
            row = connection.execute(
                "SELECT id, environment, created_at, plan, state, why, entered_at, notes FROM rollouts "
                f"WHERE {where} ORDER BY created_at DESC, rowid DESC LIMIT 1",
                values,
            ).fetchone()
        if row is None:
            return None
        plan, progress = _PLAN.validate_json(row[3]), Progress.model_validate_json(row[7])
        return Rollout(row[0], row[1], row[2], plan, State(row[4]), row[5], row[6], progress)

    @contextmanager
    def _as_rollout_error(self) -> Iterator[None]:
        """A full disk, a lock that is held, a file of another kind: for a person to fix, not a bug."""
        try:
            yield
        except sqlite3.Error as error:
            raise RolloutError(f"the rollout record {self.path} cannot be used: {error}") from error

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._turn, self._as_rollout_error():
            yield self._connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its begin, so that the chain's head cannot move under it."""
        with self._read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()


def _dump(plan: Plan) -> str:
    return json.dumps(asdict(plan), default=str, sort_keys=True)
