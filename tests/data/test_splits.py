"""Drawing and dealing."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import groupby, pairwise, permutations
from pathlib import Path
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
    expected = {"train": 360, "calibration": 40, "benchmark": 32, "evaluation": 600, "confirmation": 0}
    assert splits.sizes(params(), confirm=False) == expected
    assert splits.sizes(params(), confirm=True) == expected | {"confirmation": 600}


def test_suites_share_by_weight_and_carry_their_key() -> None:
    suites = {"a": {"kind": "problems", "weight": 3}, "b": {"kind": "problems", "options": {"tasks": ["gcd"]}}}
    data = params(suites=suites)
    items = splits.draw(data, splits.options(data), seed=1, count=1032)
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
    wanted = splits.sizes(params(), confirm=False)
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
        params(train_items=60, evaluation_items=len(items) - 60 - benchmark_items, benchmark_items=benchmark_items),
        confirm=False,
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


def test_repeats_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [_item("sum", f"{n % 90} + {n % 90 + 100}?") for n in range(100)]
    dealt = splits.deal(items, {"train": 60, "evaluation": 40}, seed=1)
    assert {name: len(part) for name, part in dealt.items()} == {"train": 54, "evaluation": 36}
    # two suites over one file: one draws what the other has drawn
    suite = write(tmp_path / "a.jsonl", [f"{n} + {n + 1000}?" for n in range(300)])
    data = params(suites={"a": suite, "b": suite}, train_items=40, benchmark_items=8, evaluation_items=100)
    found = split(data)
    assert sum(map(len, found.values())) < 248
    assert min(len(found["evaluation"]), len(found["confirmation"])) > 90, "later ones fill the places"
    assert re.search(r"data: items left out as repeats, or .* room for: \d+", capsys.readouterr().err)
    alike = write(tmp_path / "b.jsonl", [" ".join(map(str, order)) for order in permutations(range(7))])
    with pytest.raises(DataError, match=r"no items for .*, confirmation: too many of the [0-9,]+ questions"):
        split(params(suites={"a": alike}))


@given(
    smaller=st.integers(50, 400),
    more=st.integers(0, 300),
    suites=st.sampled_from([{"a": 1.0}, {"a": 1.0, "b": 2.5}, {"a": 0.3, "b": 1.0, "c": 1.1}]),
    confirm=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=30)
def test_a_larger_evaluation_goes_on_where_a_smaller_one_ended(
    smaller: int, more: int, suites: dict[str, float], confirm: bool, seed: int
) -> None:
    tasks = iter(("gcd", "power", "base"))
    by_key = {
        key: {"kind": "problems", "weight": weight, "options": {"tasks": [next(tasks)]}}
        for key, weight in suites.items()
    }
    small, large = (
        split(params(suites=by_key, train_items=40, benchmark_items=8, evaluation_items=count), confirm, seed)
        for count in (smaller, smaller + more)
    )
    for name in ("train", "calibration", "benchmark"):
        assert small[name] == large[name]
    for name, count in (("evaluation", smaller), ("confirmation", smaller if confirm else 0)):
        assert len(small[name]) == count
        assert small[name] == large[name][:count]
    forms = [{normal_form(item.question) for item in part} for part in large.values()]
    assert sum(map(len, forms)) == len(set().union(*forms))


def test_a_file_s_splits_stay_as_the_evaluation_grows(tmp_path: Path) -> None:
    """Also where blocks are not full any more, and where questions are akin."""
    questions = [f"{n} + {n + 1000}?" for n in range(250)] + [f"{n + 1000} + {n}?" for n in range(0, 250, 2)]
    suite = write(tmp_path / "a.jsonl", questions)
    found = [
        split(params(suites={"a": suite}, train_items=40, benchmark_items=8, evaluation_items=count))
        for count in range(50, 160, 7)
    ]
    for small, large in pairwise(found):
        for name, part in small.items():
            assert part == large[name][: len(part)]
            assert part == large[name] or name in ("evaluation", "confirmation")
    assert len(found[-1]["evaluation"]) == len(found[-1]["confirmation"]) == 155


@given(
    sizes=st.lists(st.integers(1, 5), min_size=180, max_size=220), seed=st.integers(0, 99), twins=st.integers(0, 20)
)
@settings(deadline=None, max_examples=30)
def test_a_cluster_stays_together(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, twins: int
) -> None:
    """In one split, its items next to each other; also where two clusters have a question of one form."""
    rows = [
        {"question": f"{n} + {1000 + n} + {5000 + turn}?", "answer": 1, "text": f"c{n}"}
        for n, size in enumerate(sizes)
        for turn in range(size)
    ]
    rows += [
        {"question": f"{1000 + 2 * n} + {2 * n} + 5000?", "answer": 1, "text": f"c{2 * n + 1}"} for n in range(twins)
    ]
    path = tmp_path_factory.mktemp("clusters") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {"kind": "jsonl", "options": {"path": str(path), "instruction": "", "cluster": "text"}}
    data = params(suites={"mine": suite}, train_items=20, benchmark_items=10, evaluation_items=50)
    found = split(data, seed=seed)
    of: dict[str, set[str]] = {}
    forms: dict[str, set[str]] = {}
    for name, part in found.items():
        clusters = [item.cluster or item.id for item in part]
        assert len(list(groupby(clusters))) == len(set(clusters))
        for item in part:
            of.setdefault(item.cluster or item.id, set()).add(name)
            forms.setdefault(normal_form(item.question), set()).add(name)
    assert all(len(names) == 1 for names in (*of.values(), *forms.values()))
    assert all(name.startswith("mine/") for name in of)
    fresh = splits.questions(data, splits.options(data), seed, 9, None)
    assert of.keys().isdisjoint(item.cluster for item in fresh)


def test_a_file_that_is_too_small_is_named_with_what_to_do(tmp_path: Path) -> None:
    suite = write(tmp_path / "a.jsonl", [f"{n} + {n + 1000}?" for n in range(150)])
    data = params(suites={"mine": suite}, train_items=40, benchmark_items=8, evaluation_items=60)
    message = "suite 'mine' has 150 different questions, but params ask for 168: .*many_recipes to share_alpha"
    with pytest.raises(DataError, match=message):
        split(data)
    assert {name: len(part) for name, part in split(data, confirm=False).items()} == {
        "train": 36,
        "calibration": 4,
        "benchmark": 8,
        "evaluation": 60,
        "confirmation": 0,
    }


@pytest.mark.parametrize("confirm", [True, False])
def test_fresh_questions_are_in_no_split(confirm: bool) -> None:
    suites = {
        "a": {"kind": "problems", "weight": 3, "options": {"tasks": ["gcd", "power"]}},
        "b": {"kind": "problems", "options": {"tasks": ["gcd"]}},
    }
    data = params(suites=suites)
    used = {normal_form(item.question) for part in split(data, confirm).values() for item in part}
    fresh = ask(data, 400)
    assert fresh == ask(data, 400)
    assert Counter(item.suite for item in fresh) == {"a": 300, "b": 100}
    assert used.isdisjoint(normal_form(item.question) for item in fresh)
    assert 20 < sum(item.task == "power" for item in fresh[:100]) < 55, "shuffled over tasks"
    assert {item.suite for item in ask(data, 50, "b")} == {"b"}
    with pytest.raises(ConfigError, match=r"data\.suites has no 'c'; known: a, b"):
        ask(data, 1, "c")


@pytest.mark.parametrize(("lines", "confirm", "left"), [(150, False, 42), (200, True, 32)])
def test_what_a_file_has_left_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int, confirm: bool, left: int
) -> None:
    suite = write(tmp_path / "a.jsonl", [f"{n} + {n + 1000}?" for n in range(lines)])
    data = params(suites={"mine": suite}, train_items=40, benchmark_items=8, evaluation_items=60)
    used = {item.id for part in split(data, confirm).values() for item in part}
    fresh = {item.id for item in ask(data, 64)}
    assert len(fresh) == left
    assert used.isdisjoint(fresh)
    assert len(used | fresh) == lines
    assert f"suite 'mine' has {left} fresh questions of 64: the splits have the others" in capsys.readouterr().err


def test_a_file_that_is_used_up_has_no_fresh_question(tmp_path: Path) -> None:
    suite = write(tmp_path / "a.jsonl", [f"{n} + {n + 1000}?" for n in range(168)])
    data = params(suites={"mine": suite}, train_items=40, benchmark_items=8, evaluation_items=60)
    with pytest.raises(DataError, match="no fresh question in mine: the splits have them all; lower"):
        ask(data, 64)


def test_a_form_larger_than_any_split_is_cut() -> None:
    numbers = list(range(10, 40))
    items = [_item("order", f"sort {numbers[n:] + numbers[:n]}") for n in range(30)]
    items += [_item("sum", f"{n} + {n}") for n in range(30)]
    assert len({normal_form(item.question) for item in items}) == 31
    dealt = splits.deal(items, {"train": 20, "evaluation": 20, "benchmark": 20}, seed=1)
    holders = [name for name, part in dealt.items() if any(item.task == "order" for item in part)]
    assert len(holders) == 1
    assert sum(item.task == "sum" for part in dealt.values() for item in part) == 30


def write(path: Path, questions: list[str]) -> dict[str, Any]:
    """A suite over a file of questions."""
    path.write_text("".join(json.dumps({"question": question, "answer": 1}) + "\n" for question in questions))
    return {"kind": "jsonl", "options": {"path": str(path), "instruction": ""}}


def split(data: DataParams, confirm: bool = True, seed: int = 1) -> dict[str, list[Item]]:
    return splits.split(data, splits.options(data), seed, confirm)


def ask(data: DataParams, count: int, suite: str | None = None) -> list[Item]:
    return splits.questions(data, splits.options(data), 1, count, suite)


def _item(task: str, question: str) -> Item:
    return Item(id=question, suite="s", task=task, question=question, answer="1")
