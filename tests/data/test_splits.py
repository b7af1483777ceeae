"""Drawing and dealing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from core.errors import ConfigError
from data import splits
from data.params import DataParams
from data.records import Item


def params(**changes: Any) -> DataParams:
    base = {
        "train_items": 400,
        "calibration_share": 0.1,
        "evaluation_items": 600,
        "benchmark_items": 32,
        "suites": {"mine": {"kind": "problems"}},
    }
    return DataParams.model_validate(base | changes)


def test_calibration_is_a_share_of_the_training_items() -> None:
    assert splits.sizes(params()) == {"train": 360, "calibration": 40, "evaluation": 600, "benchmark": 32}


def test_suites_share_by_weight_and_carry_their_key() -> None:
    suites = {"a": {"kind": "problems", "weight": 3}, "b": {"kind": "problems", "options": {"tasks": ["gcd"]}}}
    data = params(suites=suites)
    items = splits.draw(data, splits.options(data), seed=1)
    assert Counter(item.suite for item in items) == {"a": 774, "b": 258}
    assert all(item.id.startswith(f"{item.suite}/") for item in items)


def test_wrong_options_name_their_key() -> None:
    data = params(suites={"mine": {"kind": "problems", "options": {"tasks": ["x"]}}})
    with pytest.raises(ConfigError, match=r"data\.suites\.mine\.options: tasks: .*unknown tasks \['x'\]"):
        splits.options(data)


def test_every_split_has_its_size_and_each_task_its_share() -> None:
    counts = {"rare": 60, "usual": 300, "common": 672}
    items = [
        Item(id=f"{task}-{n}", suite="s", task=task, question=f"{task} {n}", answer="1")
        for task, count in counts.items()
        for n in range(count)
    ]
    wanted = splits.sizes(params())
    dealt = splits.deal(items, wanted, seed=1)
    assert {name: len(part) for name, part in dealt.items()} == wanted
    assert len({item.id for part in dealt.values() for item in part}) == len(items)
    for part in dealt.values():
        for task, count in counts.items():
            assert abs(sum(item.task == task for item in part) - len(part) * count / len(items)) <= 2
    assert dealt == splits.deal(items, wanted, seed=1)
    assert dealt["train"] != splits.deal(items, wanted, seed=2)["train"]
    # a prefix is a fair sample too: the sequential test looks at prefixes
    prefix = Counter(item.task for item in dealt["evaluation"][:100])
    assert len(prefix) == 3
    assert 45 <= prefix["common"] <= 85
