"""Prepared items as parquet, one file a split: what `prepare` makes and evaluate, calibrate and benchmark share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core import files
from core.errors import DataError
from core.progress import say
from data.records import Item

if TYPE_CHECKING:
    from models.tokenizer import Tokenizer

NUMBER = re.compile(r"\d+(?:\.\d+)?")
SPLITS = ("train", "calibration", "evaluation", "confirmation", "benchmark", "text")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("suite", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("scoring", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("solution", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("cluster", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("target_ids", pa.list_(pa.int32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Prepared:
    """An item with its tokens: the chat-templated prompt, and the worked solution with its end token (or empty).

    In the split `text`, `prompt_ids` are those of the passage alone, and `prompt` and `target_ids` are empty.
    """

    item: Item
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    prompt: str = ""


def tokenize(items: Sequence[Item], tokenizer: Tokenizer) -> list[Prepared]:
    """Items with `prompt_ids` (template with generation prompt) and `target_ids` (solution and end token, or empty).

    The template writes its own begin token, so none is added. A solution starts where the prompt ends, as generated
    text would. Raises DataError naming an item that has no ids.
    """
    prepared = []
    for item in items:
        prompt = tokenizer.render([{"role": "user", "content": item.question}])
        try:
            ids, target = tokenizer.encode(prompt), tokenizer.encode(item.solution or "")
        except DataError as error:
            raise DataError(f"item {item.id}: {error}") from error
        end = [] if tokenizer.end_id is None else [tokenizer.end_id]
        prepared.append(
            Prepared(
                item=item, prompt_ids=tuple(ids), target_ids=tuple(target + end if target else ()), prompt=prompt
            )
        )
    return prepared


def tokenize_text(items: Sequence[Item], tokenizer: Tokenizer, context_tokens: int) -> list[Prepared]:
    """Passages as plain text without a template, cut to the model's context; those of one token are left out."""
    prepared = []
    for item in items:
        try:
            ids = tokenizer.encode(item.question, framed=True)[:context_tokens]
        except DataError as error:
            raise DataError(f"item {item.id}: {error}") from error
        if len(ids) > 1:
            prepared.append(Prepared(item=item, prompt_ids=tuple(ids), target_ids=()))
    if len(prepared) < len(items):
        say(f"data: passages left out because they have no second token: {len(items) - len(prepared):,}")
    return prepared


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
        table = pq.read_table(path)
        # Kept from before scoring rules had names (Item knows that of each kind), or before there were clusters.
        later = {"scoring", "cluster"} - set(table.column_names)
        table = table.cast(pa.schema([field for field in SCHEMA if field.name not in later]))
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} does not have the columns of a prepared split: {error}") from error
    return [
        Prepared(
            item=Item(**{name: row[name] for name in Item.model_fields if name in row}),
            prompt_ids=tuple(row["prompt_ids"]),
            target_ids=tuple(row["target_ids"]),
            prompt=row["prompt"],
        )
        for row in table.to_pylist()
    ]


def clusters(items: Sequence[Item]) -> list[list[int]]:
    """Indices of `items` by cluster, in order: neighbours of one cluster; an item without one is its own."""
    found: list[list[int]] = []
    for index, item in enumerate(items):
        if index and item.cluster is not None and item.cluster == items[index - 1].cluster:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def related(items: Iterable[Item]) -> list[list[Item]]:
    """Groups of items that are akin, directly or through others: no two of a group may be in different splits."""
    above: dict[str, str] = {}

    def root(key: str) -> str:
        while (parent := above.setdefault(key, key)) != key:
            key = parent
        return key

    by_key = [(keys(item), item) for item in items]
    for (form, *others), _ in by_key:
        for other in others:
            above[root(other)] = root(form)
    groups: dict[str, list[Item]] = {}
    for (form, *_), item in by_key:
        groups.setdefault(root(form), []).append(item)
    return list(groups.values())


def keys(item: Item) -> list[str]:
    """Items that share a key are akin: the normal form of the question, and the cluster where there is one."""
    form = normal_form(item.question)
    return [form] if item.cluster is None else [form, f"\0{item.cluster}"]


def normal_form(question: str) -> str:
    """The question with single blanks and its numbers taken out and listed in order behind it.

    Questions of one form count as the same: they differ in blanks, or in the order of their numbers, alone.
    """
    numbers = sorted(NUMBER.findall(question))
    return " ".join(NUMBER.sub("#", question).split()) + " | " + " ".join(numbers)
