"""Prepared items as parquet, one file a split: what `prepare` writes and evaluate, calibrate and benchmark share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core import files, plugins
from core.errors import DataError
from data.records import Item

SPLITS = ("train", "calibration", "evaluation", "benchmark")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("suite", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("solution", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("target_ids", pa.list_(pa.int32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Prepared:
    """An item with its tokens: the chat-templated prompt, and the worked solution with its end token (or empty)."""

    item: Item
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    prompt: str = ""


def save(folder: Path, split: str, rows: Sequence[Prepared]) -> Path:
    """Write `rows` as `<folder>/<split>.parquet`, atomically, in order."""
    records = [
        row.item.model_dump()
        | {"prompt": row.prompt, "prompt_ids": list(row.prompt_ids), "target_ids": list(row.target_ids)}
        for row in rows
    ]
    path = folder / f"{split}.parquet"
    with files.atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), temporary)
    return path


def load(folder: Path, split: str) -> list[Prepared]:
    """Read a split in the order it was written; raises DataError when the file is missing or has other columns."""
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise DataError(f"{path} not found: run `python -m stages.prepare` first")
    try:
        table = pq.read_table(path).cast(SCHEMA)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} does not have the columns of a prepared split: {error}") from error
    return [
        Prepared(
            item=Item(**{name: row[name] for name in Item.model_fields}),
            prompt_ids=tuple(row["prompt_ids"]),
            target_ids=tuple(row["target_ids"]),
            prompt=row["prompt"],
        )
        for row in table.to_pylist()
    ]


def is_right(item: Item, text: str) -> bool:
    """Score a whole reply (the model's new text) with the scorer of the item's own kind."""
    return bool(plugins.load("data.suites", item.kind).is_right(item, text))
