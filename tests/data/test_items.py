"""Prepared items survive the round trip, and a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from core.errors import DataError
from data import items
from data.records import Item
from models import tokenizer


def test_round_trip(tmp_path: Path, tiny_qwen2: Path) -> None:
    questions = [
        Item(id="a", suite="s", task="t", question="1 + 1?", answer="2", solution="1+1=2\n</think>\n\\boxed{2}"),
        Item(id="b", suite="s", task="t", question="é ☃?", answer="x", kind="jsonl", metadata="{}"),
    ]
    words = tokenizer.load(tiny_qwen2)
    rows = items.tokenize(questions, words)
    items.save(tmp_path, "train", rows)
    assert items.load(tmp_path, "train") == rows
    assert words.decode(rows[0].prompt_ids) == rows[0].prompt
    assert rows[0].prompt.endswith("<think>\n")
    assert rows[0].target_ids[-1] == words.end_id
    assert rows[1].target_ids == ()


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [("problems", "boxed_strict"), ("jsonl", "boxed"), ("lm_eval", "boxed_any"), ("reasoning_gym", "reasoning_gym")],
)
def test_a_split_kept_without_scoring_rules_has_that_of_its_kind(tmp_path: Path, kind: str, scoring: str) -> None:
    item = Item(id="a", suite="s", task="t", question="q", answer="1", kind=kind)
    items.save(tmp_path, "train", [items.Prepared(item, (1,), ())])
    path = tmp_path / "train.parquet"
    pd.read_parquet(path).drop(columns="scoring").to_parquet(path)
    assert items.load(tmp_path, "train")[0].item.scoring == item.scoring == scoring


def test_a_split_kept_without_clusters_has_none(tmp_path: Path) -> None:
    item = Item(id="a", suite="s", task="t", question="q", answer="1", cluster="c")
    items.save(tmp_path, "train", [items.Prepared(item, (1,), ())])
    assert items.load(tmp_path, "train")[0].item.cluster == "c"
    path = tmp_path / "train.parquet"
    pd.read_parquet(path).drop(columns="cluster").to_parquet(path)
    assert items.load(tmp_path, "train")[0].item.cluster is None


def test_an_empty_split_is_a_file_with_the_same_columns(tmp_path: Path) -> None:
    items.save(tmp_path, "confirmation", [])
    assert items.load(tmp_path, "confirmation") == []
    assert list(pd.read_parquet(tmp_path / "confirmation.parquet").columns) == items.SCHEMA.names


def test_consecutive_rows_of_one_cluster_are_one() -> None:
    names = ["a", "a", None, None, "b", "a", "a", "a"]
    rows = [
        items.Prepared(Item(id=str(n), suite="s", task="t", question=f"q{n}", answer="1", cluster=name), (1,), ())
        for n, name in enumerate(names)
    ]
    assert items.clusters([row.item for row in rows]) == [[0, 1], [2], [3], [4], [5, 6, 7]]
    assert items.clusters([]) == []


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.parquet not found: run"):
        items.load(tmp_path, "train")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="does not have the columns"):
        items.load(tmp_path, "train")
