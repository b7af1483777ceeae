"""What `pattern` finds last in the reply is the answer: its first group, or the whole match where it has none."""

from __future__ import annotations

from collections import deque

import regex
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data import replies, scoring
from data.records import Item

SECONDS = 1.0  # a pattern can take exponential time; one that does finds nothing


class Options(BaseModel):
    """`pattern` is in the syntax of the library regex, which is Python's and more."""

    model_config = ConfigDict(extra="forbid")

    pattern: str = Field(min_length=1)
    ideal: str = Field(default="{answer}", pattern=r"\{answer\}", description="a reply that `pattern` finds it in")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern


def is_right(item: Item, text: str) -> bool:
    pattern = regex.compile(scoring.options(item).pattern)
    try:
        last = deque(pattern.finditer(replies.visible(text) or "", timeout=SECONDS), maxlen=1)
    except TimeoutError:
        return False
    found = (last[0][min(1, pattern.groups)] or "") if last else ""
    return bool(found) and bool(found.strip() == item.answer.strip())


def ideal_answer(item: Item) -> str:
    return str(scoring.options(item).ideal.replace("{answer}", item.answer))
