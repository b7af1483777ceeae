"""What `evaluate` writes: the drift of one variant against the reference."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from core.records import Interval, Record, VariantName, Verdict
from drift.records import Look, Metric, Power


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


class Reply(Record):
    """One answer of the original to a suite in which it is hardly ever right."""

    suite: str
    question: str
    answer: str  # the right one
    reply: str


class Evaluation(Record):
    """Drift of one variant against the reference, on its serving runtime. The verdict is of its accuracy."""

    variant: VariantName
    manifest_sha256: str  # "none" where quantize failed
    runtime: str
    runtime_version: str
    reference_sha256: str
    reference_runtime: str
    seed: int
    status: Literal["measured", "not_measured_here", "failed"]
    why_not_measured: str | None = None
    verdict: Verdict
    reason: str
    margin_points: float
    alpha: float
    target: Literal["population", "benchmark"] = "population"  # items like these, or the finite benchmark itself
    samples: int = 1  # answers to an item; an item's difference is one of means over them
    attempt: int = 1  # at judging this recipe of this model; each goes on with the wealth that those before it lost
    earlier_wealth: float = 1.0
    items: int = 0  # of one cluster count once
    items_budget: int
    items_to_settle: int | None = None  # estimate; only when inconclusive
    accuracy_reference: Interval | None = None
    accuracy_variant: Interval | None = None
    delta_points: Interval | None = None
    why_no_verdict: str | None = None  # the test could not have seen a loss, and which setting to change
    reference_replies: list[Reply] = Field(default_factory=list)  # to a suite that is below evaluate.validity
    power: list[Power] = Field(default_factory=list)  # what the test could be expected to say, before it began
    looks: list[Look] = Field(default_factory=list)
    by_task: list[TaskAccuracy] = Field(default_factory=list)
    metrics: list[Metric] = Field(default_factory=list)
    flip_examples: list[Flip] = Field(default_factory=list)
    wall_s: float
    peak_rss_mib: float

    @property
    def is_biased(self) -> bool:
        """Whether the estimate of the difference is: the test stopped because of it, so a pass looks too good.

        The interval holds all the same.
        """
        return self.status == "measured" and self.items < self.items_budget

    @model_validator(mode="before")
    @classmethod
    def _read_what_was_kept_earlier(cls, found: Any) -> Any:
        """Evidence from before metrics were a list: the same figures, from the fields that they had."""
        if not isinstance(found, dict) or not found.keys() & KEPT_EARLIER.keys():
            return found
        metrics = [metric for part, read in KEPT_EARLIER.items() if found.get(part) for metric in read(found[part])]
        rest = {key: value for key, value in found.items() if key not in KEPT_EARLIER}
        looks = [dict(look) for look in found.get("looks", [])]
        if looks:
            looks[-1].setdefault("verdict", found.get("verdict"))
        return rest | {"looks": looks, "metrics": metrics}


def _flips(kept: dict[str, Any]) -> list[dict[str, Any]]:
    about = {"group": "Changed answers", "counted": "items"}
    about["count"] = sum(kept[name] for name in ("both_right", "both_wrong", "lost", "gained"))
    p = {"label": "McNemar p, exact, not adjusted for looks", "unit": "probability", "value": kept["mcnemar_p"]}
    return [
        about | {"name": "answers_lost", "label": "answers lost", "unit": "items", "value": kept["lost"]},
        about | {"name": "answers_gained", "label": "answers gained", "unit": "items", "value": kept["gained"]},
        about | {"name": "mcnemar_p"} | p,
    ]


def _teacher_forced(kept: dict[str, Any]) -> list[dict[str, Any]]:
    about = {"group": "Drift, teacher-forced", "count": kept["tokens"], "counted": "tokens"}
    ratio, reference = kept["perplexity_ratio"], kept["perplexity_reference"]
    both = {"value": reference * ratio["value"], "reference": reference}
    return [
        about | {"name": "kl_mean_nats", "label": "KL divergence, mean", "unit": "nats"} | kept["kl_mean"],
        about | {"name": "kl_p99_nats", "label": "KL, 99th percentile", "unit": "nats", "value": kept["kl_p99"]},
        about | {"name": "kl_max_nats", "label": "KL, largest", "unit": "nats", "value": kept["kl_max"]},
        about | {"name": "top1_agreement", "label": "same top token", "unit": "share"} | kept["top1_agreement"],
        about | {"name": "perplexity", "label": "perplexity", "unit": "ratio"} | both,
        about | {"name": "perplexity_ratio", "label": "perplexity ratio", "unit": "ratio"} | ratio,
    ]


def _behaviour(kept: dict[str, Any]) -> list[dict[str, Any]]:
    about = {"group": "What a user would notice", "unit": "share", "count": kept["items"], "counted": "answers"}
    labels = {
        "truncated": "cut off",
        "missing_think_close": "no </think>",
        "repetitive": "repeating",
        "empty": "empty",
        "mean_output_tokens": "mean length",
    }
    found = []
    for name, label in labels.items():
        reference, value = kept[name]
        found.append(about | {"name": name, "label": label, "value": value, "reference": reference})
    found[-1]["unit"] = "tokens"
    same = {"name": "identical_answers", "label": "identical answers", "value": kept["identical_answers"]}
    return [*found, about | same]


KEPT_EARLIER = {"flips": _flips, "teacher_forced": _teacher_forced, "behaviour": _behaviour}
