"""What `evaluate` writes: the drift of one variant against the reference."""

from __future__ import annotations

from typing import Literal

from core.records import Interval, Record, VariantName, Verdict
from drift.records import Behaviour, Flips, TeacherForced


class Look(Record):
    """One look of the sequential test, after `items` items. Points are percentage points of accuracy."""

    items: int
    delta_points: float
    low_points: float
    high_points: float


class TaskAccuracy(Record):
    task: str
    items: int
    reference: float
    variant: float


class Flip(Record):
    """One item whose correctness changed, with both texts, for the report."""

    item_id: str
    task: str
    question: str
    answer: str
    reference_text: str
    variant_text: str
    direction: Literal["lost", "gained"]


class Evaluation(Record):
    """Drift of one variant against the reference, on its serving runtime."""

    variant: VariantName
    manifest_sha256: str
    runtime: str
    runtime_version: str
    reference_sha256: str
    reference_runtime: str
    seed: int
    status: Literal["measured", "not_measured_here"]
    why_not_measured: str | None = None
    verdict: Verdict
    reason: str
    margin_points: float
    alpha: float
    items: int
    items_budget: int
    items_to_settle: int | None  # estimate; only when inconclusive
    accuracy_reference: Interval | None
    accuracy_variant: Interval | None
    delta_points: Interval | None
    flips: Flips | None
    looks: list[Look]
    by_task: list[TaskAccuracy]
    behaviour: Behaviour | None
    teacher_forced: TeacherForced | None
    flip_examples: list[Flip]
    wall_s: float
    peak_rss_mib: float
