"""The figures of drift, as the evaluation's record holds them."""

from __future__ import annotations

from core.records import Interval, Record


class Flips(Record):
    both_right: int
    both_wrong: int
    lost: int  # reference right, variant wrong
    gained: int  # reference wrong, variant right
    mcnemar_p: float  # exact, two-sided


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
