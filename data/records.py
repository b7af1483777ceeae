"""What `prepare` writes: items, and what Great Expectations found about them."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from core.records import Record

RULES = {"problems": "boxed_strict", "lm_eval": "boxed_any", "reasoning_gym": "reasoning_gym"}


class Item(Record):
    """One task for the model. `answer` is what `scoring` checks a reply against."""

    id: str
    suite: str  # the suite's key in params
    task: str
    question: str
    answer: str
    solution: str | None = None  # worked text that ends in the answer, where the suite has one
    kind: str = "problems"  # file in data/suites/ that made the item
    scoring: str = ""  # file in data/scoring/ that says when a reply is right; never empty, see below
    metadata: str | None = None  # JSON that this scoring rule needs besides the answer
    cluster: str | None = None  # items that name the same one are not independent: they stay together

    @model_validator(mode="before")
    @classmethod
    def _rule_of_its_kind(cls, found: Any) -> Any:
        """Items kept from before rules had names: every kind of suite had one."""
        if isinstance(found, dict) and not found.get("scoring"):
            return found | {"scoring": RULES.get(found.get("kind", "problems"), "boxed")}
        return found


class DataCheck(Record):
    """One expectation about the data, and in how many of `items` it did not hold (None: it is about the whole)."""

    name: str
    column: str | None
    items: int
    unexpected: int | None
    passed: bool


class DataChecks(Record):
    """What Great Expectations found; `summary.json` beside its data docs, in short for the report."""

    version: str  # of great_expectations
    checks: list[DataCheck]
