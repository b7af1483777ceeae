"""A system's answers to the evaluation items, made once, chunk by chunk, and kept for every later comparison.

A chunk's file appears whole or not at all, so a killed run repeats at most the chunk it was in. The folder's name is
a digest of all that decides the answers: another model, item, limit, batch or library version is another folder.
What else is kept by chunks of items (evaluation/forced.py) is written and read as the answers are.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import files
from core.progress import say, track
from data.items import Prepared
from evaluation.systems import System
from runtimes import Generation

SCHEMA = pa.schema([("item_id", pa.string()), ("token_ids", pa.list_(pa.int32())), ("finished", pa.bool_())])


@dataclass(frozen=True)
class Decoding:
    """How answers are made. Batch and chunk count too: another batch can round a near tie the other way."""

    max_tokens: int
    batch: int
    chunk_items: int


class Answers:
    """The answers of one system to `rows`, in their order, kept below `root`."""

    def __init__(self, system: System, rows: Sequence[Prepared], decoding: Decoding, root: Path) -> None:
        self.system, self.rows, self.decoding = system, rows, decoding
        items = json.dumps([[row.item.id, row.prompt_ids] for row in rows])
        facts = {
            "model": system.sha256,
            "facts": system.facts,
            "items": files.sha256_bytes(items.encode()),
            "decoding": vars(decoding),
            "machine": platform.machine(),
        }
        self.key = files.sha256_bytes(json.dumps(facts, sort_keys=True).encode())
        self.folder = root / self.key

    def chunk(self, number: int) -> list[Generation]:
        """Answers to the rows of chunk `number` (from 0), read from the cache or made now."""
        size = self.decoding.chunk_items
        rows = self.rows[number * size : (number + 1) * size]
        path = self.folder / f"chunk-{number:05d}.parquet"
        ids = [row.item.id for row in rows]
        kept = read_kept(path, SCHEMA, ids)
        if kept is not None:
            return [Generation(tuple(row["token_ids"]), row["finished"]) for row in kept]
        answers = self._make(rows, f"{self.system.label} {number + 1}")
        records = [
            {"item_id": name, "token_ids": list(answer.token_ids), "finished": answer.finished}
            for name, answer in zip(ids, answers, strict=True)
        ]
        write_kept(path, SCHEMA, records)
        return answers

    def _make(self, rows: Sequence[Prepared], label: str) -> list[Generation]:
        """Prompts of like length share a batch (less padding); the answers come back in the order of `rows`."""
        batch, prompts = self.decoding.batch, [row.prompt_ids for row in rows]
        order = sorted(range(len(rows)), key=lambda index: (len(prompts[index]), index))
        answers: dict[int, Generation] = {}
        starts = range(0, len(order), batch)
        for start in track(starts, label, total=len(starts), unit="batch"):
            chosen = order[start : start + batch]
            made = self.system.runtime.generate([prompts[index] for index in chosen], self.decoding.max_tokens)
            answers.update(zip(chosen, made, strict=True))
        return [answers[index] for index in range(len(rows))]


def read_kept(path: Path, schema: pa.Schema, item_ids: Sequence[str]) -> list[dict[str, Any]] | None:
    """The rows in `path`; None, and why, when they must be made: no file, not readable, or about other items."""
    if not path.exists():
        return None
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).cast(schema).to_pylist()
    except (ValueError, OSError, pa.ArrowException) as error:
        say(f"{path} cannot be read and is made again: {error}")
        return None
    if [row["item_id"] for row in rows] != list(item_ids):
        say(f"{path} holds other items and is made again")
        return None
    return rows


def write_kept(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Write `rows` to `path`; the file appears whole or not at all."""
    with files.atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
