"""The user's own questions: a JSON Lines file with one object a line, say {"question": "2 + 2?", "answer": "4"}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.errors import DataError
from data import replies
from data.records import Item
from data.scoring import Scoring

KIND = "jsonl"


class Options(BaseModel):
    """Where the file is and what its columns are called."""

    model_config = ConfigDict(extra="forbid")

    path: Path
    question: str = "question"
    answer: str = "answer"
    solution: str | None = Field(default=None, description="column of worked steps; calibration learns from them")
    task: str | None = Field(default=None, description="column that names a group; accuracy is shown for each")
    scoring: Scoring = Field(default="boxed", description="file in data/scoring/ that says when a reply is right")
    instruction: str = Field(default=replies.INSTRUCTION, description="put behind each question; may be empty")


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` lines drawn at random; every line of the file is checked first."""
    rows = _read(options)
    if len(rows) < count:
        raise DataError(
            f"{options.path} has {len(rows)} questions, but params ask for {count}: lower data.train_items or "
            "data.evaluation_items, give this suite a smaller weight, or add lines"
        )
    yield from Random(seed).sample(rows, count)


def _read(options: Options) -> list[Item]:
    try:
        lines = options.path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"{options.path} cannot be read ({error.strerror}): check the suite's options.path"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{options.path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    return [_item(options, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _item(options: Options, number: int, line: str) -> Item:
    where = f"{options.path}, line {number}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    answer = _text(row, options.answer, where)
    solution = _text(row, options.solution, where) if options.solution else None
    if solution is not None and replies.THINK_END not in solution:
        solution = f"{solution}\n{replies.ideal(answer)}"
    return Item(
        id=f"{options.path.stem}-{number}",
        suite=KIND,
        kind=KIND,
        scoring=options.scoring,
        task=_text(row, options.task, where) if options.task else options.path.stem,
        question="\n".join(filter(None, (_text(row, options.question, where), options.instruction))),
        answer=answer,
        solution=solution,
    )


def _text(row: dict[str, Any], column: str, where: str) -> str:
    """A column as text; numbers are taken as they are written."""
    if column not in row:
        raise DataError(f"{where}: no column '{column}'; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: column '{column}' must be text or a number, found {json.dumps(value)[:60]}")
    if not str(value).strip():
        raise DataError(f"{where}: column '{column}' is empty")
    return str(value).strip()
