"""Tasks of the reasoning-gym library: seeded, endless, each scored by its own exact checker."""

from __future__ import annotations

import difflib
import hashlib
import json
import random
from collections.abc import Iterator
from itertools import chain, islice
from itertools import count as numbers
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.errors import DataError
from core.progress import say
from data import replies
from data.items import normal_form
from data.records import Item
from data.scoring.reasoning_gym import dataset, library

KIND = "reasoning_gym"
PAGE_ENTRIES = 500


class Options(BaseModel):
    """`tasks` maps a reasoning-gym data set to its settings, say {gcd: {}, chain_sum: {max_terms: 6}}."""

    model_config = ConfigDict(extra="forbid")

    tasks: dict[str, dict[str, Any]] = Field(min_length=1)
    instruction: str = Field(default=replies.INSTRUCTION, description="put behind each question; may be empty")

    @field_validator("tasks")
    @classmethod
    def _known(cls, chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = sorted(library().factory.DATASETS)
        for name in chosen:
            if name not in known:
                near = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.4)) or ", ".join(known)
                raise ValueError(f"reasoning-gym has no task '{name}'; did you mean: {near}")
        return chosen


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` items, the tasks in turn, up to where one of them runs out of distinct questions."""
    tasks = [_of_task(name, settings, options.instruction, seed) for name, settings in options.tasks.items()]
    yield from islice(chain.from_iterable(zip(*tasks, strict=False)), count)


def _of_task(name: str, settings: dict[str, Any], instruction: str, seed: int) -> Iterator[Item]:
    """Distinct questions, until more than three entries in four repeat one."""
    seen: set[str] = set()
    for number, entry in enumerate(_entries(name, json.dumps(settings), seed)):
        if number >= 4 * len(seen) + 100:
            say(f"reasoning-gym's '{name}' repeats itself after {len(seen)} distinct questions: widen its settings")
            return
        question = "\n".join(filter(None, (entry["question"], instruction)))
        key = normal_form(question)
        if key in seen:
            continue
        seen.add(key)
        if not isinstance(entry["answer"], str):
            raise DataError(f"reasoning-gym's '{name}' has no single answer to score against: choose another task")
        try:
            metadata = json.dumps({"task": name, "settings": settings, "entry": entry["metadata"]})
        except TypeError as error:
            raise DataError(f"reasoning-gym's '{name}' needs data that cannot be stored ({error})") from error
        yield Item(
            id=f"{name}-{hashlib.sha256(question.encode()).hexdigest()[:12]}",
            suite=KIND,
            kind=KIND,
            scoring=KIND,
            task=name,
            question=question,
            answer=entry["answer"],
            metadata=metadata,
        )


def _entries(name: str, settings: str, seed: int) -> Iterator[dict[str, Any]]:
    """Without end. Some tasks make as many entries at once as their data set is large, so it is taken in pages."""
    for start in numbers(seed, PAGE_ENTRIES):  # the library adds an entry's place to the seed
        for place in range(PAGE_ENTRIES):
            state = random.getstate()
            random.seed(start + place)  # list_functions draws from Python's own generator, whatever its seed
            try:
                entry = dataset(name, settings, start, PAGE_ENTRIES)[place]
            finally:
                random.setstate(state)
            yield entry
