"""Chunks of rows kept as parquet, each named by the items it is about. A file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import files
from core.progress import say


def read(path: Path, schema: pa.Schema, item_ids: Sequence[str]) -> list[dict[str, Any]] | None:
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


def write(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Write `rows` atomically."""
    with files.atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
