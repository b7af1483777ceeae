"""Drawing and dealing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from data import splits
from data.expectations import checks, table
from data.items import Prepared, normal_form
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


@given(
    likes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=120, max_size=300),
    benchmark_items=st.integers(8, 20),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=50)
def test_questions_of_one_form_share_a_split(likes: list[tuple[int, int]], benchmark_items: int, seed: int) -> None:
    """Each form of each task has 1 to 4 questions that differ in the order of their numbers alone."""
    items = [
        _item(f"t{task}", f"of t{task}: {', '.join(str(n + (k + turn) % 4) for k in range(4))}")
        for n, (task, count) in enumerate(likes)
        for turn in range(count)
    ]
    items = [item for n, item in enumerate(items) if item.question not in {other.question for other in items[:n]}]
    sizes = splits.sizes(
        params(train_items=60, evaluation_items=len(items) - 60 - benchmark_items, benchmark_items=benchmark_items)
    )
    dealt = splits.deal(items, sizes, seed)
    found = table.build({name: [Prepared(item, (), ()) for item in part] for name, part in dealt.items()}, 8)
    assert found["splits_with_question"].max() == 1
    assert found["id"].is_unique
    assert len(items) - len(found) <= 3, "what is left over is less than one form a split"
    assert found["share_gap"].max() <= checks.LARGEST_SHARE_GAP


def test_single_items_fill_what_groups_leave() -> None:
    items = [_item("sum", f"{n} + {1000 + n}") for n in range(60)]
    items += [_item("sum", f"{1000 + n} + {n}") for n in range(50)]
    for seed in range(20):
        dealt = splits.deal(items, {"train": 55, "evaluation": 44, "benchmark": 11}, seed)
        assert {name: len(part) for name, part in dealt.items()} == {"train": 55, "evaluation": 44, "benchmark": 11}


def test_repeats_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    items = [_item("sum", f"{n % 90} + {n % 90 + 100}?") for n in range(100)]
    dealt = splits.deal(items, {"train": 60, "evaluation": 40}, seed=1)
    assert {name: len(part) for name, part in dealt.items()} == {"train": 54, "evaluation": 36}
    assert "for any split: 10 of 100" in capsys.readouterr().err
    with pytest.raises(DataError, match="no items for evaluation: too many of the 100 questions are the same"):
        splits.deal(items[:1] * 100, {"train": 60, "evaluation": 40}, seed=1)


def test_a_form_larger_than_any_split_is_cut() -> None:
    numbers = list(range(10, 40))
    items = [_item("order", f"sort {numbers[n:] + numbers[:n]}") for n in range(30)]
    items += [_item("sum", f"{n} + {n}") for n in range(30)]
    assert len({normal_form(item.question) for item in items}) == 31
    dealt = splits.deal(items, {"train": 20, "evaluation": 20, "benchmark": 20}, seed=1)
    holders = [name for name, part in dealt.items() if any(item.task == "order" for item in part)]
    assert len(holders) == 1
    assert sum(item.task == "sum" for part in dealt.values() for item in part) == 30


def _item(task: str, question: str) -> Item:
    return Item(id=question, suite="s", task=task, question=question, answer="1")
