"""From suites to splits.

The suites together give one order of items that never depends on how many are asked for. Its first items are train,
calibration and benchmark, each task in the same share of each. What comes after them is dealt block by block, half to
evaluation and half to confirmation. So a larger evaluation goes on where a smaller one ended, and nothing else moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count as numbers
from itertools import islice
from math import ceil
from random import Random
from typing import Any

from pydantic import BaseModel

from core import plugins
from core.errors import ConfigError, DataError
from core.progress import say
from data.items import keys, related
from data.params import DataParams, SuiteParams
from data.records import Item

BLOCK_ITEMS = 256  # dealt at once to evaluation and confirmation


def sizes(data: DataParams, confirm: bool) -> dict[str, int]:
    """Items in each split. Calibration is carved out of the training items, so train is what it leaves.

    With `confirm` the confirmation is as large as the evaluation, else it is empty.
    """
    return {
        "train": data.train_items - data.calibration_items,
        "calibration": data.calibration_items,
        "benchmark": data.benchmark_items,
        "evaluation": data.evaluation_items,
        "confirmation": data.evaluation_items if confirm else 0,
    }


def options(data: DataParams) -> dict[str, BaseModel]:
    """The checked options of every suite, before any work; ConfigError names the key that is wrong."""
    if not any(_has_answers(suite) for suite in data.suites.values()):
        raise ConfigError("params.yaml: data.suites: none has answers to be right or wrong: add one, say of problems")
    return {
        key: plugins.options(
            plugins.load("data.suites", suite.kind), suite.options, f"params.yaml: data.suites.{key}.options"
        )
        for key, suite in data.suites.items()
    }


def split(data: DataParams, checked: Mapping[str, BaseModel], seed: int, confirm: bool) -> dict[str, list[Item]]:
    """Every split of a run, by name; `checked` is what `options` gave.

    What asks the same as another item, or is akin to one of another split, is left out and counted: splits may then
    come out smaller. DataError when a suite holds too few items, or a split is empty that should not be.
    """
    dealt, left = _split(data, checked, seed, confirm)
    if left:
        say(f"data: items left out as repeats, or as akin to more items than any split has room for: {left:,}")
    return dealt


def questions(
    data: DataParams, checked: Mapping[str, BaseModel], seed: int, count: int, suite: str | None
) -> list[Item]:
    """`count` items that no split of the run with this `seed` has, nor any akin to one, shuffled over tasks.

    All of one `suite`, or of every suite by weight (None). The confirmation counts as taken wherever the suites hold
    enough for one, whether or not the run asked for it. Fewer come, which is said, where a suite is used up.
    DataError where none is left, ConfigError for a suite that does not exist.
    """
    known = [name for name, found in data.suites.items() if _has_answers(found)]
    if suite is not None and suite not in known:
        raise ConfigError(f"data.suites has no '{suite}' with answers; known: {', '.join(known)}")
    try:
        dealt, _ = _split(data, checked, seed, confirm=True)
    except DataError:  # then the run shared alpha
        dealt, _ = _split(data, checked, seed, confirm=False)
    taken = {key for part in dealt.values() for item in part for key in keys(item)}
    drawn = Counter(islice(_turns(data), _most(data)))
    wanted = {suite: count} if suite else Counter(islice(_turns(data), count))
    found: list[Item] = []
    for name, want in wanted.items():
        supply = _of_suite(data, checked, name, drawn[name] + 2 * want, seed)
        fresh = list(islice((item for item in supply if taken.isdisjoint(keys(item))), want))
        if len(fresh) < want:
            say(f"data: suite '{name}' has {len(fresh)} fresh questions of {want}: the splits have the others")
        found += fresh
    if not found:
        raise DataError(
            f"no fresh question in {', '.join(wanted)}: the splits have them all; lower data.evaluation_items or "
            "add questions"
        )
    Random(seed).shuffle(found)
    return found


def passages(data: DataParams, checked: Mapping[str, Any], seed: int) -> list[Item]:
    """The split `text`: as many passages of each suite without answers as its options ask for."""
    return [
        item
        for name, suite in data.suites.items()
        if not _has_answers(suite)
        for item in _of_suite(data, checked, name, checked[name].passages, seed)
    ]


def draw(data: DataParams, checked: Mapping[str, BaseModel], seed: int, count: int) -> list[Item]:
    """The first `count` items of a run, the suites in turn by weight; fewer where the turn comes to one used up."""
    turns = list(islice(_turns(data), count))
    supplies = {name: _of_suite(data, checked, name, many, seed) for name, many in Counter(turns).items()}
    drawn: list[Item] = []
    for name in turns:
        if (item := next(supplies[name], None)) is None:
            break
        drawn.append(item)
    return drawn


def deal(items: Sequence[Item], wanted: Mapping[str, int], seed: int) -> dict[str, list[Item]]:
    """Split `items` into `wanted` numbers, each task spread evenly; every split is in random order.

    The order matters: the sequential test looks at a growing prefix of the evaluation. Items that are akin go into
    one split, and those of one cluster stand next to each other there. What asks the same as another item, or is akin
    to more than any split has room for, is left out.
    """
    rng = Random(seed)
    groups = [
        list({" ".join(item.question.split()): item for item in reversed(group)}.values())
        for group in related(rng.sample(list(items), len(items)))
    ]
    # Stable: random within a task. Its single items come last: they fit where a group has no room.
    groups.sort(key=lambda group: (group[0].suite, group[0].task, -len(group)))
    dealt: dict[str, list[Item]] = {name: [] for name in wanted}
    total, place = sum(wanted.values()), 0
    for group in groups:
        place += len(group)
        room = {name: wanted[name] - len(dealt[name]) for name in wanted}
        fitting = [name for name in wanted if room[name] >= len(group)] or [max(wanted, key=lambda name: room[name])]
        behind = max(fitting, key=lambda name: wanted[name] * place / total - len(dealt[name]))
        dealt[behind] += group[: room[behind]]
    return {name: _shuffled(part, rng) for name, part in dealt.items()}


def _shuffled(items: Sequence[Item], rng: Random) -> list[Item]:
    """In random order, but that the items of a cluster stay together."""
    units: dict[str, list[Item]] = {}
    for item in items:
        units.setdefault(item.cluster or f"\0{item.id}", []).append(item)
    order = list(units.values())
    rng.shuffle(order)
    return [item for unit in order for item in unit]


def _split(
    data: DataParams, checked: Mapping[str, BaseModel], seed: int, confirm: bool
) -> tuple[dict[str, list[Item]], int]:
    """The splits, and how many items were left out."""
    wanted = sizes(data, confirm)
    first = {name: wanted[name] for name in ("train", "calibration", "benchmark")}
    head, needed = sum(first.values()), sum(wanted.values())
    drawn = draw(data, checked, seed, _most(data))
    if len(drawn) < needed:
        raise _too_few(data, drawn, needed)
    dealt = deal(drawn[:head], first, seed) | {"evaluation": [], "confirmation": []}
    used, left = head, head - sum(map(len, dealt.values()))
    seen = {key for item in drawn[:head] for key in keys(item)}
    halves = {"evaluation": BLOCK_ITEMS // 2, "confirmation": BLOCK_ITEMS // 2}
    while used < len(drawn) and any(len(dealt[name]) < wanted[name] for name in halves):
        block = drawn[used : used + BLOCK_ITEMS]
        parts = deal([item for item in block if seen.isdisjoint(keys(item))], halves, seed + used)
        seen.update(key for item in block for key in keys(item))
        used += len(block)
        left += len(block) - sum(map(len, parts.values()))
        for name, part in parts.items():
            dealt[name if confirm else "evaluation"] += part
    dealt = {name: part[: wanted[name]] for name, part in dealt.items()}
    if empty := [name for name in wanted if wanted[name] and not dealt[name]]:
        raise DataError(f"no items for {', '.join(empty)}: too many of the {used:,} questions are the same")
    return dealt, left


def _most(data: DataParams) -> int:
    """Items that are drawn at most: those of every split, and some blocks more in place of what is left out."""
    wanted = sizes(data, confirm=True)
    blocks = ceil(2 * data.evaluation_items / BLOCK_ITEMS)
    return data.train_items + wanted["benchmark"] + (blocks + 1 + blocks // 8) * BLOCK_ITEMS


def _too_few(data: DataParams, drawn: Collection[Item], needed: int) -> DataError:
    """`drawn` ended where the turn came to the suite that is used up."""
    turns = list(islice(_turns(data), needed))
    name = turns[len(drawn)]
    return DataError(
        f"suite '{name}' has {sum(item.suite == name for item in drawn)} different questions, but params ask for "
        f"{turns.count(name)}: lower data.train_items or data.evaluation_items, set evaluate.many_recipes to "
        "share_alpha (no second set of items for a confirmation), give this suite a smaller weight, or add questions"
    )


def _turns(data: DataParams) -> Iterator[str]:
    """Names of suites without end: at each place that one which its weight leaves furthest behind."""
    weights = {name: suite.weight for name, suite in data.suites.items() if _has_answers(suite)}
    total, had = sum(weights.values()), dict.fromkeys(weights, 0)
    for place in numbers(1):
        name = max(weights, key=lambda name: weights[name] * place / total - had[name])
        had[name] += 1
        yield name


def _has_answers(suite: SuiteParams) -> bool:
    return bool(getattr(plugins.load("data.suites", suite.kind), "HAS_ANSWERS", True))


def _of_suite(data: DataParams, checked: Mapping[str, BaseModel], name: str, count: int, seed: int) -> Iterator[Item]:
    """Up to `count` items of one suite, under its key; suites differ in seed, and a text beside them changes none."""
    module = plugins.load("data.suites", data.suites[name].kind)
    alike = [key for key, suite in data.suites.items() if _has_answers(suite) == _has_answers(data.suites[name])]
    for item in islice(module.items(checked[name], count, seed + alike.index(name)), count):
        cluster = item.cluster and f"{name}/{item.cluster}"
        yield item.model_copy(update={"suite": name, "id": f"{name}/{item.id}", "cluster": cluster})
