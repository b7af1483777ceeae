"""A user's text: how it is cut, what of it is drawn, and how it becomes the split `text`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from data import items, splits
from data.params import DataParams
from data.records import Item
from data.suites import text
from models import tokenizer


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text") / "book.txt"


def read(path: Path, content: str | bytes, count: int = 1000, seed: int = 1, characters: int = 20) -> list[Item]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(text.items(text.Options(path=path, passage_characters=characters), count, seed))


@given(content=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\r"), max_size=300))
@example("a" * 300)
@example("\n" * 300)
@example("ab\n\n" * 60)
def test_the_passages_are_the_text_in_pieces(file: Path, content: str) -> None:
    pieces = list(text._cut(content, 20))
    assert all(0 < len(piece) <= 20 and piece == piece.strip() for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(content.split())
    if not pieces:
        with pytest.raises(DataError, match=r"book\.txt has no text"):
            read(file, content)


def test_a_passage_ends_with_a_paragraph_or_else_a_line() -> None:
    assert list(text._cut("one two three\n\nfour five\nsix seven", 20)) == ["one two three", "four five\nsix seven"]
    assert list(text._cut("one two three\r\n\r\nfour five\r\nsix", 22)) == ["one two three", "four five\r\nsix"]
    assert list(text._cut("one two three\nfour five six seven", 20)) == ["one two three", "four five six seven"]
    assert list(text._cut("1234567890" * 3, 20)) == ["1234567890" * 2, "1234567890"]


def test_passages_are_drawn_over_the_whole_file(file: Path) -> None:
    content = "".join(f"line {n} {'x' * 10}\n" for n in range(200))
    drawn = read(file, content, count=20)
    places = [int(item.question.split()[1]) for item in drawn]
    assert min(places) < 60 < 140 < max(places)
    assert drawn != read(file, content, count=20, seed=2)
    assert read(file, b"\xef\xbb\xbf" + content.encode(), count=20) == drawn


def test_what_stands_there_twice_is_taken_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(read(file, "the same sentence.\n\n" * 9 + "another")) == 2
    assert "book.txt: 2 passages of 1000: there is no more text" in capsys.readouterr().err


def test_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"book\.txt, line 2: not UTF-8 text"):
        read(file, b"a\n\xff")
    with pytest.raises(DataError, match="cannot be read"):
        list(text.items(text.Options(path=tmp_path / "none.txt"), 1, 1))


def _data(file: Path, **suites: Any) -> DataParams:
    own = {"kind": "text", "weight": 5, "options": {"path": str(file), "passages": 7, "passage_characters": 50}}
    return DataParams.model_validate(
        {"train_items": 20, "evaluation_items": 50, "benchmark_items": 2, "suites": {"own": own} | suites}
    )


def test_passages_are_a_split_of_their_own(file: Path, tiny_qwen2: Path) -> None:
    read(file, "".join(f"line {n}, {'and so on ' * 3}\n" for n in range(200)))
    data = _data(file, sums={"kind": "problems"})
    checked = splits.options(data)
    dealt = splits.split(data, checked, 1, confirm=True)
    assert {item.suite for part in dealt.values() for item in part} == {"sums"}
    passages = splits.passages(data, checked, 1)
    assert len(passages) == 7
    assert {item.suite for item in passages} == {"own"}
    assert {item.suite for item in splits.questions(data, checked, 1, 20, None)} == {"sums"}
    with pytest.raises(ConfigError, match=r"data\.suites has no 'own' with answers; known: sums"):
        splits.questions(data, checked, 1, 20, "own")
    with pytest.raises(ConfigError, match=r"data\.suites: none has answers"):
        splits.options(_data(file))


def test_a_passage_s_ids_are_those_of_the_plain_text(
    tiny_qwen2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tokenizer.load(tiny_qwen2)
    asked = [
        Item(id=question, suite="s", kind="text", task="t", question=question, answer="", scoring="none")
        for question in ("What is 12 + 34?", "W")
    ]
    whole, cut = (items.tokenize_text(asked, words, context) for context in (512, 5))
    (row,) = whole
    assert words.decode(row.prompt_ids) == "What is 12 + 34?"
    assert (row.prompt, row.target_ids) == ("", ())
    assert cut[0].prompt_ids == row.prompt_ids[:5]
    assert "passages left out because they have no second token: 1" in capsys.readouterr().err
    items.save(tmp_path, "text", whole)
    assert items.load(tmp_path, "text") == whole
