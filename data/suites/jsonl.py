"""The user's own questions: a JSON Lines file with one object a line, say {"question": "2 + 2?", "answer": "4"}.

UTF-8, with or without a byte order mark; lines end in `\\n` or `\\r\\n`. Text and numbers are taken as written: the
answer 0.10 is "0.10". Exact repeats of a question, whatever its blanks, are one item. Lines that are not independent,
say questions about one text, name the same `cluster`, which goes into one split as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from pydantic import ConfigDict, Field

from core.errors import ConfigError, DataError
from core.progress import say
from data import replies
from data.records import Item
from data.scoring import ScoringOptions, checked, ideal, known
from data.suites.parts import text_file
from host import digests

KIND = "jsonl"
LONGEST_NUMBER = 1000  # characters
SURROGATE = re.compile("[\ud800-\udfff]")


class Options(ScoringOptions):
    """Where the file is and what its columns are called. `scoring_options` are for lines whose rule is `scoring`."""

    model_config = ConfigDict(extra="forbid")

    path: Path
    question: str = "question"
    answer: str = "answer"
    solution: str | None = Field(default=None, description="column of worked steps; calibration learns from them")
    task: str | None = Field(default=None, description="column that names a group; accuracy is shown for each")
    cluster: str | None = Field(
        default=None, description="column that names what an item shares with others, say a text that all ask about"
    )
    scoring_column: str | None = Field(default=None, description="column that names each line's own such file")
    instruction: str = Field(default=replies.INSTRUCTION, description="put behind each question; may be empty")


def identity(options: Options) -> dict[str, str]:
    """The file's digest."""
    return digests.below(options.path)


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` lines drawn at random, those that are akin together; every line of the file is checked first."""
    from data.items import related  # which loads pyarrow; `identity` is asked in every run

    groups = related(_read(options))
    Random(seed).shuffle(groups)
    yield from islice(chain.from_iterable(groups), count)


def _read(options: Options) -> list[Item]:
    # splitlines() would also split at U+2028 and the like inside a text
    lines = text_file.read(options.path).split("\n")
    rows = [_item(options, f"{options.path}, line {n}", n, line) for n, line in enumerate(lines, 1) if line.strip()]
    different: dict[str, Item] = {}
    for row in rows:
        first = different.setdefault(" ".join(row.question.split()), row)
        if " ".join(first.answer.split()) != " ".join(row.answer.split()):
            lines_of = [item.id.removeprefix(f"{options.path.stem}-") for item in (first, row)]
            raise DataError(
                f"{options.path}, lines {' and '.join(lines_of)}: the same question with different answers, "
                f"{first.answer[:40]!r} and {row.answer[:40]!r}: keep the right one"
            )
    if len(different) < len(rows):
        say(f"{options.path}: lines left out because an earlier one asks the same: {len(rows) - len(different):,}")
    return list(different.values())


def _item(options: Options, where: str, number: int, line: str) -> Item:
    try:
        row = json.loads(line, parse_int=_number, parse_float=_number, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply: only text and numbers are read") from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {_kind(row)}")
    try:
        rule = known(_text(row, options.scoring_column, where)) if options.scoring_column else options.scoring
        metadata = checked(rule, options.scoring_options if rule == options.scoring else {})
    except ConfigError as error:
        raise DataError(f"{where}: {error}") from error
    item = Item(
        id=f"{options.path.stem}-{number}",
        suite=KIND,
        kind=KIND,
        scoring=rule,
        task=_text(row, options.task, where) if options.task else options.path.stem,
        question="\n".join(filter(None, (_text(row, options.question, where), options.instruction))),
        answer=_text(row, options.answer, where),
        cluster=_text(row, options.cluster, where) if options.cluster else None,
        metadata=metadata,
    )
    if not options.solution:
        return item
    solution = _text(row, options.solution, where)
    if replies.THINK_END not in solution:
        solution = f"{solution}\n{ideal(item)}"
    return item.model_copy(update={"solution": solution})


def _text(row: dict[str, Any], column: str, where: str) -> str:
    """A column as it is written: text, or the text of a number."""
    if column not in row:
        raise DataError(f"{where}: no column '{column}'; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: column '{column}' must be text or a number, found {_kind(value)}")
    if not value.strip():
        raise DataError(f"{where}: column '{column}' is empty")
    if lone := SURROGATE.search(value):
        raise DataError(f"{where}: column '{column}' has \\u{ord(lone[0]):04x}, one half of a surrogate pair")
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text or a number"}
    return names.get(type(value)) or json.dumps(value)  # null, true or false


def _number(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters, more than {LONGEST_NUMBER}: write it as text")
    return text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON: write it as text")
