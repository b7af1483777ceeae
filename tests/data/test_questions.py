"""The questions that ship for a real model: what the script makes, enough of them, and none of them twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from data import question_tables as tables
from data import questions, scoring
from data.items import normal_form
from data.scoring.contains import OR
from data.suites import jsonl

ROOT = Path(__file__).parents[2]
ROWS = questions.rows()
TABLES = ("CAPITALS", "STATES", "SCIENCES", "PEOPLE", "OPPOSITES", "IRREGULAR_PLURALS", "IRREGULAR_PASTS")
LISTS = ("ELEMENTS", "NOUNS", "VERBS", "DOUBLED_VERBS")


def test_file_is_what_the_script_makes() -> None:
    assert (ROOT / questions.PATH).read_text(encoding="utf-8") == questions.render(), "run `python -m data.questions`"


def test_there_are_enough_of_enough_kinds() -> None:
    counts = Counter(row["task"] for row in ROWS)
    assert sum(counts.values()) >= 1_500
    assert len(counts) >= 6
    assert min(counts.values()) >= 40, "a kind with fewer shows little of what a model lost"


def test_no_question_stands_twice_in_its_normal_form() -> None:
    counts = Counter(normal_form(row["question"]) for row in ROWS)
    assert [question for question, count in counts.items() if count > 1] == []


def test_every_answer_is_right_and_a_reply_without_it_is_not() -> None:
    for row in ROWS:
        item = questions.item(row)
        for answer in row["answer"].split(OR):
            assert answer.strip(), row
            assert scoring.is_right(item, f"The answer is {answer}."), row
        assert not scoring.is_right(item, "I do not know."), row
        assert not scoring.is_right(item, row["question"]), f"an echo of the question counts as right: {row}"


@pytest.mark.parametrize("name", TABLES)
def test_no_key_stands_twice_in_a_table(name: str) -> None:
    _once([key for key, _ in questions._table(getattr(tables, name))], name)


def test_no_city_stands_twice() -> None:
    _once([city for _, cities in questions._table(tables.CITIES) for city in cities.split(", ")], "CITIES")


@pytest.mark.parametrize("name", LISTS)
def test_no_word_stands_twice_in_a_list(name: str) -> None:
    _once(questions._words(getattr(tables, name)), name)


def test_elements_stand_at_their_atomic_numbers() -> None:
    symbols = [entry.split()[0] for entry in questions._words(tables.ELEMENTS)]
    known = {"H": 1, "C": 6, "Fe": 26, "Kr": 36, "Ag": 47, "Xe": 54, "Nd": 60, "W": 74, "Au": 79, "Rn": 86, "U": 92}
    assert {symbol: symbols.index(symbol) + 1 for symbol in known} == known


@pytest.mark.parametrize(
    ("word", "ending", "form"),
    [
        ("city", "s", "cities"),
        ("boy", "s", "boys"),
        ("church", "s", "churches"),
        ("carry", "ed", "carried"),
        ("bake", "ed", "baked"),
    ],
)
def test_endings(word: str, ending: str, form: str) -> None:
    assert questions._ending(word, ending) == form


def test_the_suite_reads_the_file() -> None:
    options = jsonl.Options(path=ROOT / questions.PATH, task="task", scoring_column="scoring", instruction="")
    items = list(jsonl.items(options, len(ROWS), seed=1))
    assert {item.task for item in items} == {kind.__name__ for kind in questions.KINDS}
    assert all(scoring.is_right(item, scoring.ideal(item)) for item in items)


def test_score_reads_a_model_and_says_what_was_cut_off(tiny_llama: Path) -> None:
    lines = ROWS[:3]
    replies = questions.score(lines, tiny_llama, most_tokens=2)
    assert [type(text) for text, _ in replies] == [str] * 3
    assert json.dumps(replies) == json.dumps(questions.score(lines, tiny_llama, most_tokens=2))


def _once(words: list[str], where: str) -> None:
    assert [word for word, count in Counter(words).items() if count > 1] == [], where
