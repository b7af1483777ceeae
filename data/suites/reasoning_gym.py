"""Tasks of the reasoning-gym library: seeded, endless, each scored by its own exact checker."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.errors import DataError
from data import replies
from data.items import normal_form
from data.records import Item
from data.scoring.reasoning_gym import dataset, library

KIND = "reasoning_gym"


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
    """`count` items, the tasks in equal shares; DataError when a task runs out of distinct questions."""
    names = list(options.tasks)
    for place, name in enumerate(names):
        wanted = count // len(names) + (place < count % len(names))
        yield from _of_task(name, options.tasks[name], options.instruction, wanted, seed)


def _of_task(name: str, settings: dict[str, Any], instruction: str, count: int, seed: int) -> Iterator[Item]:
    size = 4 * count + 100  # entries are made one by one as they are asked for
    seen: set[str] = set()
    for entry in dataset(name, json.dumps(settings), seed, size):
        if len(seen) == count:
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
    if len(seen) < count:
        raise DataError(
            f"reasoning-gym's '{name}' gave {len(seen)} distinct questions of {count}: widen its settings, add "
            "tasks, or lower data.train_items or data.evaluation_items"
        )
