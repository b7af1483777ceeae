"""A system's answers to the evaluation items, made once, chunk by chunk, and kept for every later comparison.

The folder's name is a digest of the system and of how it decodes, a file's is one of its items: a run with more items
finds the chunks that a smaller one made, and another model, prompt, seed, limit, batch or library version finds none.
A file appears whole or not at all, so a killed run repeats at most the chunk it was in.
What else is kept by chunks of items (evaluation/forced.py) is written and read as the answers are.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import files
from core.progress import say, track
from data.items import Prepared
from evaluation.decoding import Decoding, Side, seed_of
from evaluation.systems import System
from runtimes import Generation

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),  # null: greedy
        ("token_ids", pa.list_(pa.int32())),
        ("finished", pa.bool_()),
    ]
)


class Answers:
    """The answers of one system, on its `side` of the comparison, to `rows`, in their order, kept below `root`."""

    def __init__(self, system: System, side: Side, rows: Sequence[Prepared], decoding: Decoding, root: Path) -> None:
        self.system, self.side, self.rows, self.decoding = system, side, rows, decoding
        facts = {
            "model": system.sha256,
            "facts": system.facts,
            # Both sides draw with their own seeds; a greedy answer is the same on either, in a run of any seed.
            "decoding": asdict(decoding) | ({"side": side} if decoding.sampled else {"seed": None}),
            "machine": platform.machine(),
        }
        self.key = digest(facts)
        self.folder = root / self.key

    def chunk(self, number: int) -> list[tuple[Generation, ...]]:
        """The answers to each row of chunk `number` (from 0), read from the cache or made now."""
        size = self.decoding.chunk_items
        rows = self.rows[number * size : (number + 1) * size]
        path = self.folder / f"chunk-{digest([[row.item.id, row.prompt_ids] for row in rows])[:32]}.parquet"
        asked = [(row, sample) for row in rows for sample in range(self.decoding.samples)]
        ids = [row.item.id for row, _ in asked]
        kept = read_kept(path, SCHEMA, ids)
        if kept is None:
            seeds = [self._seed(row, sample) for row, sample in asked]
            made = self._make([row.prompt_ids for row, _ in asked], seeds, f"{self.system.label} {number + 1}")
            kept = [
                {
                    "item_id": row.item.id,
                    "sample": sample,
                    "seed": seed,
                    "token_ids": list(answer.token_ids),
                    "finished": answer.finished,
                }
                for (row, sample), seed, answer in zip(asked, seeds, made, strict=True)
            ]
            write_kept(path, SCHEMA, kept)
        answers = [Generation(tuple(row["token_ids"]), row["finished"]) for row in kept]
        samples = self.decoding.samples
        return [tuple(answers[start : start + samples]) for start in range(0, len(answers), samples)]

    def _seed(self, row: Prepared, sample: int) -> int | None:
        return seed_of(self.decoding.seed, self.side, row.item.id, sample) if self.decoding.sampled else None

    def _make(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int | None], label: str) -> list[Generation]:
        """Prompts of like length share a batch (less padding); the answers come back in the order of `prompts`."""
        batch, how = self.decoding.batch, self.decoding.sampled
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
        answers: dict[int, Generation] = {}
        starts = range(0, len(order), batch)
        for start in track(starts, label, total=len(starts), unit="batch"):
            chosen = order[start : start + batch]
            made = self.system.runtime.generate(
                [prompts[index] for index in chosen],
                self.decoding.max_tokens,
                sampling=[how.with_seed(seeds[index]) for index in chosen] if how else None,
            )
            answers.update(zip(chosen, made, strict=True))
        return [answers[index] for index in range(len(prompts))]


def digest(facts: Any) -> str:
    """SHA-256 of what JSON can hold."""
    return files.sha256_bytes(json.dumps(facts, sort_keys=True).encode())


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
