"""Each expectation holds on good data and stops the run on bad data, with its name, the count and three rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.errors import DataError
from data import splits
from data.expectations import run, table
from data.items import Prepared, tokenize
from data.params import DataParams
from data.records import Item
from models import tokenizer

MAX_TOKENS, CONTEXT_TOKENS = 192, 512


@pytest.fixture(scope="module")
def good(tiny_qwen2: Path) -> pd.DataFrame:
    suites = {"mine": {"kind": "problems", "options": {"tasks": ["gcd", "power"]}}}
    data = DataParams.model_validate(
        {"train_items": 60, "evaluation_items": 60, "benchmark_items": 8, "suites": suites}
    )
    dealt = splits.split(data, splits.options(data), 1, confirm=True)
    words = tokenizer.load(tiny_qwen2)
    return table.build({name: tokenize(part, words) for name, part in dealt.items()}, MAX_TOKENS)


def test_good_data_passes_and_leaves_data_docs(good: pd.DataFrame, tmp_path: Path) -> None:
    assert run.run(good, MAX_TOKENS, CONTEXT_TOKENS, tmp_path / "docs") > 20
    page = next((tmp_path / "docs" / "validations").rglob("*.html")).read_text()
    assert "splits_with_question" in page
    assert (tmp_path / "docs" / "index.html").is_file()


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("question", "", "question is filled"),
        ("answer", None, "answer is there"),
        ("id", "twice", "unique ids"),
        ("splits_with_question", 2, "no item in two splits"),
        ("room_tokens", CONTEXT_TOKENS + 1, "prompts fit the model"),
        ("room_tokens", MAX_TOKENS, "prompts fit the model"),
        ("target_tokens", MAX_TOKENS + 1, "solutions fit the answer"),
        ("scorer_accepts", False, "answers are parseable"),
        ("share_gap", 0.5, "tasks are balanced over splits"),
        ("share_of_commonest", 0.01, "no task is rare"),
    ],
)
def test_bad_rows_stop_the_run(good: pd.DataFrame, tmp_path: Path, column: str, value: Any, name: str) -> None:
    bad = good.copy()
    bad.loc[[3, 40, 77, 100], column] = value
    with pytest.raises(DataError) as caught:
        run.run(bad, MAX_TOKENS, CONTEXT_TOKENS, tmp_path / "docs")
    message = str(caught.value)
    assert f"expectation '{name}'" in message
    assert f"for 4 of {len(bad)} items" in message
    examples = message.split("For example\n")[1].splitlines()
    assert len(examples) == 3
    assert str(bad.loc[3, "id"]) in examples[0]
    assert (tmp_path / "docs" / "index.html").is_file()


def test_a_missing_column_stops_the_run(good: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expectation 'schema'"):
        run.run(good.drop(columns="kind"), MAX_TOKENS, CONTEXT_TOKENS, tmp_path / "docs")


def test_a_leak_between_splits_stops_the_run(tiny_qwen2: Path, tmp_path: Path) -> None:
    words = tokenizer.load(tiny_qwen2)

    def part(*questions: str) -> Any:
        items = [Item(id=q, suite="s", kind="jsonl", task="t", question=q, answer="1") for q in questions]
        return tokenize(items, words)

    found = table.build({"train": part("gcd of 12, 30?", "5 + 7"), "evaluation": part("gcd of  30, 12?", "5 - 7")}, 8)
    assert found["splits_with_question"].tolist() == [2, 1, 2, 1]
    assert found["scorer_accepts"].all()
    assert (found["target_tokens"] == 0).all()
    with pytest.raises(DataError, match=r"expectation 'no item in two splits' .* failed for 2 of 4 items"):
        run.run(found, 8, CONTEXT_TOKENS, tmp_path / "docs")


def test_an_answer_that_its_rule_refuses_is_seen() -> None:
    def item(scoring: str, answer: str) -> Prepared:
        made = Item(id=answer, suite="s", kind="jsonl", task="t", question="q", answer=answer, scoring=scoring)
        return Prepared(made, (), ())

    rows = [item("number", "12"), item("number", "twelve"), item("exact", "Oslo"), item("choice", "Oslo")]
    assert table.build({"train": rows}, 8)["scorer_accepts"].tolist() == [True, False, True, False]
