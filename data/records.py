"""What `prepare` writes: items, and what Great Expectations found about them."""

from __future__ import annotations

from core.records import Record


class Item(Record):
    """One task for the model. `answer` is what the scorer of data/suites/<kind>.py checks a reply against."""

    id: str
    suite: str  # the suite's key in params
    task: str
    question: str
    answer: str
    solution: str | None = None  # worked text that ends in the answer, where the suite has one
    kind: str = "problems"  # file in data/suites/ that made the item and scores replies to it
    metadata: str | None = None  # JSON that this kind's scorer needs besides the answer


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
