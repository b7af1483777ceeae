"""A system's answers to the evaluation items, made once, chunk by chunk, and kept for every later comparison.

A chunk's file appears whole or not at all, so a killed run repeats at most the chunk it was in. The folder's name is
a digest of all that decides the answers: another model, item, limit, batch or library version is another folder.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from core import files
from core.progress import track
from data.items import Prepared
from evaluation import kept
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
        answers = _read(path, rows)
        if answers is None:
            answers = self._make(rows, f"{self.system.label} {number + 1}")
            _write(path, rows, answers)
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


def _read(path: Path, rows: Sequence[Prepared]) -> list[Generation] | None:
    found = kept.read(path, SCHEMA, [row.item.id for row in rows])
    return None if found is None else [Generation(tuple(row["token_ids"]), row["finished"]) for row in found]


def _write(path: Path, rows: Sequence[Prepared], answers: Sequence[Generation]) -> None:
    records = [
        {"item_id": row.item.id, "token_ids": list(answer.token_ids), "finished": answer.finished}
        for row, answer in zip(rows, answers, strict=True)
    ]
    kept.write(path, SCHEMA, records)
