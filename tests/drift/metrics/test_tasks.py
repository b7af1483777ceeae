from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from core.errors import ConfigError
from core.records import Verdict
from data.records import Item
from drift import metrics
from drift.metrics import Answer, Comparison, Pair, Side

ANSWER = Answer((1,), "a", True)


def compared(count: int, lost: dict[str, float]) -> Comparison:
    """`count` items of each task in random order; the variant loses a share of each task's."""
    pairs = []
    for task, share in lost.items():
        for number in range(count):
            item = Item(id=f"{task}-{number}", suite="s", task=task, question="q", answer="a")
            wrong = number < share * count
            pairs.append(Pair(item, Side((ANSWER,), (True,)), Side((ANSWER,), (not wrong,))))
    Random(1).shuffle(pairs)
    return Comparison(pairs, budget=len(pairs), tasks=Counter(pair.item.task for pair in pairs))


def verdicts(given: Comparison) -> dict[str, Verdict]:
    return {one.name: one.verdict for one in metrics.measure(metrics.choose({"tasks": {}}), given)}


def test_a_task_that_is_lost_fails_by_name_though_the_mean_is_within_the_margin() -> None:
    tasks = dict.fromkeys(("b", "c", "d", "e", "f", "g", "h", "i", "j", "k"), 0.0)
    found = verdicts(compared(500, {"a sum!": 0.10, **tasks}))
    assert found.pop("task_a sum_") == "fail"
    assert set(found.values()) == {"pass"}


def test_few_items_of_a_task_decide_nothing() -> None:
    assert verdicts(compared(30, {"a": 0.0, "b": 0.0})) == {"task_a": "inconclusive", "task_b": "inconclusive"}


def test_alpha_is_shared_by_the_tasks_of_the_whole_split() -> None:
    given = compared(400, {"a": 0.0, "b": 0.0})
    alone = metrics.measure(metrics.choose({"tasks": {}}), given)[0]
    many = metrics.measure(metrics.choose({"tasks": {}}), replace(given, tasks={**given.tasks, "c": 400, "d": 400}))[
        0
    ]
    assert alone.level == pytest.approx(1 - 2 * 0.05 / 2)
    assert many.level == pytest.approx(1 - 2 * 0.05 / 4)
    assert (alone.low or 0) > (many.low or 0)


def test_a_single_task_is_the_accuracy_itself() -> None:
    assert verdicts(compared(400, {"a": 0.5})) == {}


def test_limits_by_prefix_and_by_name() -> None:
    given = compared(400, {"a": 0.05, "b": 0.0})
    chosen = metrics.choose({"tasks": {"limits": {"task_": None, "task_a": {"at_least": -10}}}})
    found = {one.name: one for one in metrics.measure(chosen, given)}
    assert found["task_a"].verdict == "pass"
    assert found["task_b"].limit is None
    with pytest.raises(ConfigError, match=r"no metric tsk_a; known: task_…"):
        metrics.choose({"tasks": {"limits": {"tsk_a": None}}})
