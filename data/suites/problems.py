"""Assay's own generated problems with worked steps, from the share that the reference model was never trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, field_validator

from data import tasks
from data.items import normal_form
from data.records import Item

KIND = "problems"


class Options(BaseModel):
    """`tasks` are drawn in turn; naming one twice doubles its share."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = list(tasks.HELD_OUT_TURNS)

    @field_validator("tasks")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        unknown = sorted(set(names) - set(tasks.MAKERS))
        if unknown or not names:
            raise ValueError(f"unknown tasks {unknown}; known: {', '.join(tasks.MAKERS)}")
        return names


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` problems, no two alike after normalising; the supply does not end."""
    seen: set[str] = set()
    for problem in tasks.problems(seed, held_out=True, turns=options.tasks):
        if len(seen) == count:
            return
        key = normal_form(problem.question)
        if key in seen:
            continue
        seen.add(key)
        yield Item(
            id=f"{problem.task}-{hashlib.sha256(problem.question.encode()).hexdigest()[:12]}",
            suite=KIND,
            kind=KIND,
            scoring="boxed_strict",
            task=problem.task,
            question=problem.question,
            answer=problem.answer,
            solution=problem.solution,
        )
