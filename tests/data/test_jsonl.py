"""A user's own file: what is read from it, and what each fault of it is called."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import DataError
from data import scoring
from data.records import Item
from data.suites import jsonl

PLAIN: dict[str, Any] = {"instruction": ""}
TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "mine.jsonl"


def read(path: Path, content: str | bytes, count: int = 1, **options: Any) -> list[Item]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(jsonl.items(jsonl.Options(path=path, **options), count, seed=1))


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@given(question=TEXT, answer=TEXT, ascii_only=st.booleans(), end=st.sampled_from(["", "\n", "\r\n"]))
@example("a\u2028b\x85c\x0bd", "\u2029.", False, "\n")
def test_text_comes_back_as_it_was_written(
    file: Path, question: str, answer: str, ascii_only: bool, end: str
) -> None:
    row = json.dumps({"question": question, "answer": answer}, ensure_ascii=ascii_only)
    (found,) = read(file, row + end, **PLAIN)
    assert (found.question, found.answer) == (question, answer)


@given(content=st.binary() | st.text('[]{}",:0123456789.eE+-\\u dquestionaswNI\n\r').map(str.encode))
@example(b'{"question": "a", "answer": ' + b"[" * 100_000)
@example(b'{"question": "a", "answer": ' + b"[" * 970 + b"]" * 970 + b"}")
@example(b'{"question": "a", "answer": ' + b"9" * 5_000 + b"}")
@example(b'{"question": "\\ud800", "answer": "b"}')
@example(b"\xff\xfe{\x00}\x00")
def test_any_bytes_are_items_or_one_line_of_error(file: Path, content: bytes) -> None:
    try:
        message = str([item.question for item in read(file, content)])
    except DataError as error:
        message = str(error)
        assert str(file) in message
    assert "\n" not in message


@pytest.mark.parametrize("number", ["0.10", "1e3", "-0", "12345678901234567890123", "1.00000000000000000001E+5", "7"])
def test_numbers_stay_as_they_are_written(file: Path, number: str) -> None:
    (found,) = read(file, f'{{"question": {number}, "answer": {number}}}', **PLAIN)
    assert (found.question, found.answer) == (number, number)


def test_a_byte_order_mark_and_dos_line_ends_are_read(file: Path) -> None:
    content = lines({"question": "a", "answer": 1}, {"question": "b", "answer": 2}).replace("\n", "\r\n")
    found = read(file, b"\xef\xbb\xbf" + content.encode(), 2, **PLAIN)
    assert {(item.id, item.question, item.answer) for item in found} == {("mine-1", "a", "1"), ("mine-2", "b", "2")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "a"', r"mine.jsonl, line 3: not JSON \(.* at column \d+\)"),
        ("[1]", "line 3: expected an object, found a list"),
        ("1", "line 3: expected an object, found text or a number"),
        ('{"prompt": "a", "answer": "b"}', "line 3: no column 'question'; it has 'prompt', 'answer'"),
        ('{"question": " ", "answer": "b"}', "line 3: column 'question' is empty"),
        ('{"question": "a", "answer": null}', "line 3: column 'answer' must be text or a number, found null"),
        ('{"question": "a", "answer": true}', "line 3: column 'answer' must be text or a number, found true"),
        ('{"question": "a", "answer": [1]}', "line 3: column 'answer' must be text or a number, found a list"),
        ('{"question": "a", "answer": NaN}', "line 3: NaN is no number in JSON: write it as text"),
        ('{"question": "a", "answer": -Infinity}', "line 3: -Infinity is no number in JSON"),
        (f'{{"question": "a", "answer": 0.{"1" * 5000}}}', "line 3: a number of 5002 characters, more than 1000"),
        (f'{{"question": "a", "answer": {"[" * 100_000}', "line 3: nested too deeply"),
        (
            r'{"question": "a\ud800", "answer": "b"}',
            r"line 3: column 'question' has \\ud800, one half of a surrogate",
        ),
        (b'{"question": "\xe9", "answer": "b"}', "line 3: not UTF-8 text"),
    ],
)
def test_a_fault_is_told_with_its_line(file: Path, line: str | bytes, message: str) -> None:
    line = line.encode() if isinstance(line, str) else line
    with pytest.raises(DataError, match=message):
        read(file, b'{"question": "a", "answer": "b"}\n\n' + line + b"\n")


def test_columns_have_any_name(file: Path) -> None:
    content = lines({"q": "1+1", "a": "2", "how": "1+1=2", "topic": "sums"})
    (found,) = read(file, content, question="q", answer="a", solution="how", task="topic", **PLAIN)
    assert (found.task, found.question) == ("sums", "1+1")
    assert found.solution == "1+1=2\n</think>\n\\boxed{2}"


def test_a_file_with_fewer_questions_gives_them_all(file: Path) -> None:
    content = lines({"question": "a", "answer": 1}, {"question": "b", "answer": 1}, {"question": " b", "answer": 1})
    assert len(read(file, content, 3, **PLAIN)) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(jsonl.items(jsonl.Options(path=tmp_path / "none.jsonl"), 1, seed=1))


def test_a_repeated_question_is_asked_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": question, "answer": question[0]} for question in ("a  b", "c", "a b")]
    assert [item.id for item in sorted(read(file, lines(*rows), 3, **PLAIN), key=lambda item: item.id)] == [
        "mine-1",
        "mine-2",
    ]
    assert "mine.jsonl: lines left out because an earlier one asks the same: 1" in capsys.readouterr().err
    with pytest.raises(
        DataError, match=r"lines 1 and 4: the same question with different answers, 'a' and 'z': keep"
    ):
        read(file, lines(*rows, {"question": " a b", "answer": "z"}), 3, **PLAIN)


def test_a_column_names_the_cluster(file: Path) -> None:
    """And lines of one cluster are drawn one after another."""
    rows: list[dict[str, Any]] = [
        {"question": f"{letter}{n}?", "answer": 1, "text": n % 7} for n in range(30) for letter in "ab"
    ]
    found = [item.cluster for item in read(file, lines(*rows), 60, cluster="text", **PLAIN)]
    assert len(list(groupby(found))) == len(set(found)) == 7
    assert found != sorted(found, key=str), "clusters are in random order"
    assert {item.cluster for item in read(file, lines(*rows), 60, **PLAIN)} == {None}
    with pytest.raises(DataError, match="line 1: no column 'topic'"):
        read(file, lines(*rows), 1, cluster="topic")


def test_a_line_is_scored_by_the_rule_that_was_asked_for(file: Path) -> None:
    content = lines({"question": "1?", "answer": "1,000"})
    for rule, right in (("boxed", True), ("boxed_strict", False)):
        (found,) = read(file, content, scoring=rule)
        assert scoring.is_right(found, "</think>\\boxed{1000}") == right


def test_a_column_names_the_rule_of_each_line(file: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Capital of Norway?", "answer": "Oslo | Kristiania", "rule": "contains", "how": "Fjords."},
        {"question": "6 + 7?", "answer": 13, "rule": "number", "how": "6 + 7 = 13"},
    ]
    found = read(file, lines(*rows), 2, scoring_column="rule", solution="how", **PLAIN)
    assert {item.scoring: item.solution for item in found} == {
        "contains": "Fjords.\n</think>\nOslo",
        "number": "6 + 7 = 13\n</think>\n13",
    }
    with pytest.raises(
        DataError, match=r"mine.jsonl, line 3: data\.scoring has no 'numbr'; known: boxed, .*, number"
    ):
        read(file, lines(*rows, rows[0] | {"rule": "numbr"}), 2, scoring_column="rule")
