"""What `evaluate` writes: the drift of one variant against the reference."""

from __future__ import annotations

from typing import Literal

from core.records.base import Interval, Record, VariantName, Verdict


class Flips(Record):
    both_right: int
    both_wrong: int
    lost: int  # reference right, variant wrong
    gained: int  # reference wrong, variant right
    mcnemar_p: float  # exact, two-sided


class Look(Record):
    """One look of the sequential test, after `items` items. Points are percentage points of accuracy."""

    items: int
    delta_points: float
    low_points: float
    high_points: float


class Behaviour(Record):
    """What a user would notice, as shares of answers in [0, 1] (reference, variant)."""

    truncated: tuple[float, float]
    missing_think_close: tuple[float, float]
    repetitive: tuple[float, float]
    empty: tuple[float, float]
    mean_output_tokens: tuple[float, float]
    identical_answers: float  # share of items whose token ids are the same
    items: int


class TeacherForced(Record):
    """Per-token drift on the reference's own outputs. KL in nats, reference against variant."""

    items: int
    tokens: int
    kl_mean: Interval
    kl_p99: float
    kl_max: float
    top1_agreement: Interval
    perplexity_reference: float
    perplexity_ratio: Interval


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
