"""Text of the user's own, without questions or answers: how close a variant's predictions of it are is measured.

Any UTF-8 file. It is cut into passages, at the end of a paragraph or a line where one is near, and some of them are
drawn over the whole file. A passage that stands there twice is taken once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from core.errors import DataError
from core.progress import say
from data.items import normal_form
from data.records import Item
from data.suites.parts import text_file
from host import digests

KIND = "text"
HAS_ANSWERS = False
ENDS = ("\n\n", "\n\r\n", "\n")  # of a paragraph, else of a line


class Options(BaseModel):
    """Where the file is, and what is taken of it."""

    model_config = ConfigDict(extra="forbid")

    path: Path
    passages: int = Field(default=64, ge=1, description="drawn from the file")
    passage_characters: int = Field(default=2000, ge=20, description="of a passage, at most")


def identity(options: Options) -> dict[str, str]:
    """The file's digest."""
    return digests.below(options.path)


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` passages drawn at random; DataError where the file holds nothing but blanks."""
    passages: dict[str, tuple[int, str]] = {}
    for place, passage in enumerate(_cut(text_file.read(options.path), options.passage_characters), 1):
        passages.setdefault(normal_form(passage), (place, passage))
    if not passages:
        raise DataError(f"{options.path} has no text: check the suite's options.path")
    if len(passages) < count:
        say(f"{options.path}: {len(passages)} passages of {count}: there is no more text")
    drawn = list(passages.values())
    Random(seed).shuffle(drawn)
    for place, passage in drawn[:count]:
        yield Item(
            id=f"{options.path.stem}-{place}",
            suite=KIND,
            kind=KIND,
            scoring="none",
            task=options.path.stem,
            question=passage,
            answer="",
        )


def _cut(text: str, longest: int) -> Iterator[str]:
    """The whole text in pieces of at most `longest` characters, those that are not blank."""
    start = 0
    while start < len(text):
        end = start + longest
        if end < len(text):
            ends = (text.rfind(mark, start + longest // 2, end) + len(mark) for mark in ENDS)
            end = next((found for found in ends if found > start + longest // 2), end)
        if passage := text[start:end].strip():
            yield passage
        start = end
