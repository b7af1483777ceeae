"""What both systems answered to an item, scored; the table of all that is kept, and what the record says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data import scoring
from data.items import Prepared
from drift.metrics import Answer, Pair, Side
from evaluation.answers import write_kept
from evaluation.records import Flip, TaskAccuracy
from runtimes import Generation

Decode = Callable[[Sequence[int], Sequence[int]], str]  # prompt, answer → the answer's text
MAX_EXAMPLES = 20  # flips in each direction that the record shows; the parquet file has all
SIDE_FIELDS = (("ids", pa.list_(pa.int32())), ("text", pa.string()), ("right", pa.bool_()), ("finished", pa.bool_()))
SCHEMA = pa.schema(
    [("item_id", pa.string()), ("sample", pa.int32()), ("task", pa.string()), ("answer", pa.string())]
    + [(f"{side}_{name}", kind) for side in ("reference", "variant") for name, kind in SIDE_FIELDS]
)


def pair(
    rows: Sequence[Prepared],
    reference: Sequence[Sequence[Generation]],
    variant: Sequence[Sequence[Generation]],
    decode: Decode,
) -> list[Pair]:
    """Decode and score both systems' answers to each row by the item's scoring rule."""
    return [
        Pair(row.item, _side(row, one, decode), _side(row, other, decode))
        for row, one, other in zip(rows, reference, variant, strict=True)
    ]


def _side(row: Prepared, generations: Sequence[Generation], decode: Decode) -> Side:
    answers = tuple(
        Answer(made.token_ids, decode(row.prompt_ids, made.token_ids), made.finished) for made in generations
    )
    return Side(answers, tuple(scoring.is_right(row.item, answer.text) for answer in answers))


def save(path: Path, pairs: Sequence[Pair]) -> None:
    """One row for each two answers to an item, atomically; no pairs give a table with no rows."""
    records: list[dict[str, Any]] = []
    for one in pairs:
        for sample in range(len(one.reference.answers)):
            about = {"item_id": one.item.id, "sample": sample, "task": one.item.task, "answer": one.item.answer}
            record: dict[str, Any] = dict(about)
            for name, side in (("reference", one.reference), ("variant", one.variant)):
                answer = side.answers[sample]
                values = (list(answer.token_ids), answer.text, side.right[sample], answer.finished)
                record |= {f"{name}_{key}": value for (key, _), value in zip(SIDE_FIELDS, values, strict=True)}
            records.append(record)
    write_kept(path, SCHEMA, records)


def by_task(pairs: Sequence[Pair]) -> list[TaskAccuracy]:
    """Accuracy of both sides for each task, in alphabetical order."""
    found = []
    for task in sorted({one.item.task for one in pairs}):
        chosen = [one for one in pairs if one.item.task == task]
        found.append(
            TaskAccuracy(
                task=task,
                items=len(chosen),
                reference=sum(one.reference.share_right for one in chosen) / len(chosen),
                variant=sum(one.variant.share_right for one in chosen) / len(chosen),
            )
        )
    return found


def flip_examples(pairs: Sequence[Pair]) -> list[Flip]:
    """The first `MAX_EXAMPLES` lost and the first `MAX_EXAMPLES` gained items, with the first answer of each."""
    lost = [one for one in pairs if one.difference < 0]
    gained = [one for one in pairs if one.difference > 0]
    return [
        Flip(
            item_id=one.item.id,
            task=one.item.task,
            question=one.item.question,
            answer=one.item.answer,
            reference_text=one.reference.answers[0].text,
            variant_text=one.variant.answers[0].text,
            direction="lost" if one.difference < 0 else "gained",
        )
        for one in [*lost[:MAX_EXAMPLES], *gained[:MAX_EXAMPLES]]
    ]
