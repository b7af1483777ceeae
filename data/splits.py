"""From suites to splits: draw the items, then deal them out so that every split holds each task in the same share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random

from pydantic import BaseModel

from core import plugins
from core.errors import DataError
from core.progress import say
from data.items import normal_form
from data.params import DataParams, SuiteParams
from data.records import Item


def sizes(data: DataParams) -> dict[str, int]:
    """Items in each split. Calibration is carved out of the training items, so train is what it leaves."""
    return {
        "train": data.train_items - data.calibration_items,
        "calibration": data.calibration_items,
        "evaluation": data.evaluation_items,
        "benchmark": data.benchmark_items,
    }


def options(data: DataParams) -> dict[str, BaseModel]:
    """The checked options of every suite, before any work; ConfigError names the key that is wrong."""
    return {
        key: plugins.options(
            plugins.load("data.suites", suite.kind), suite.options, f"params.yaml: data.suites.{key}.options"
        )
        for key, suite in data.suites.items()
    }


def draw(data: DataParams, checked: Mapping[str, BaseModel], seed: int) -> list[Item]:
    """All items of a run, each suite's number in proportion to its weight; suites differ in seed."""
    drawn: list[Item] = []
    for place, (key, count) in enumerate(_shares(data.suites, sum(sizes(data).values())).items()):
        module = plugins.load("data.suites", data.suites[key].kind)
        found = list(islice(module.items(checked[key], count, seed + place), count))
        if len(found) < count:
            raise DataError(f"suite '{key}' gave {len(found)} items of {count}: lower the numbers under data")
        drawn += [item.model_copy(update={"suite": key, "id": f"{key}/{item.id}"}) for item in found]
    return drawn


def deal(items: Sequence[Item], wanted: Mapping[str, int], seed: int) -> dict[str, list[Item]]:
    """Split `items` into `wanted` numbers, each task spread evenly; every split is in random order.

    The order matters: the sequential test looks at a growing prefix of the evaluation split. Questions of one normal
    form go into one split together. What asks the same as another item, or belongs to a form that no split has room
    for, is left out: splits then come out smaller. DataError when one comes out empty.
    """
    rng = Random(seed)
    forms: dict[str, dict[str, Item]] = {}
    for item in rng.sample(list(items), len(items)):
        forms.setdefault(normal_form(item.question), {}).setdefault(" ".join(item.question.split()), item)
    groups = [list(form.values()) for form in forms.values()]
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
    if left := min(len(items), total) - sum(map(len, dealt.values())):
        say(f"data: items left out as repeats, or as too many of one form for any split: {left:,} of {len(items):,}")
    if empty := [name for name in wanted if wanted[name] and not dealt[name]]:
        raise DataError(f"no items for {', '.join(empty)}: too many of the {len(items)} questions are the same")
    for part in dealt.values():
        rng.shuffle(part)
    return dealt


def questions(
    data: DataParams, checked: Mapping[str, BaseModel], seed: int, count: int, suite: str | None
) -> list[Item]:
    """Placeholder of branch q-data's function: `count` fresh items, shuffled, in no split; maybe fewer."""
    key = suite or next(iter(data.suites))
    used = {normal_form(item.question) for item in draw(data, checked, seed)}
    module = plugins.load("data.suites", data.suites[key].kind)
    found = islice(module.items(checked[key], 20 * count, seed + 7919), 20 * count)
    fresh = {normal_form(item.question): item for item in found}
    left = [item for form, item in fresh.items() if form not in used]
    return Random(seed).sample(left, min(count, len(left)))


def _shares(suites: Mapping[str, SuiteParams], total: int) -> dict[str, int]:
    """`total` divided by weight, by largest remainder."""
    weights = sum(suite.weight for suite in suites.values())
    exact = {key: total * suite.weight / weights for key, suite in suites.items()}
    counts = {key: int(share) for key, share in exact.items()}
    for key in sorted(exact, key=lambda key: counts[key] - exact[key])[: total - sum(counts.values())]:
        counts[key] += 1
    return counts
