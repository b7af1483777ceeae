"""Analysis in the words of Argo Rollouts: measurements, each condition Successful, Failed or Inconclusive. Pure.

A phase takes `count` measurements, `interval_s` apart. More than `failure_limit` failures of one condition fail the
phase at once; more than `inconclusive_limit` inconclusive ones end it as inconclusive. Too few requests, a figure
that is missing and a process that started anew are inconclusive: no data never promotes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from core.records import Record, Verdict
from rollout.condition import ANSWERS, BASELINE, BOUNDS, LATENCY, PAIRED, TRAFFIC, Condition, Missing
from rollout.params import AnalysisPhase
from rollout.targets import Sample

Outcome = Literal["Successful", "Failed", "Inconclusive", "Skipped"]
Figures = dict[str, float | None]

P95_ALPHA = 0.10  # chance that one end of a p95's interval is wrong at any of a phase's measurements
# Mean square of the paired differences to expect where a phase should fail; only speed hangs on it.
EXPECTED_SQUARE = 0.05


class Answers(Record):
    """Replies of one slot to questions of a suite."""

    asked: int = 0
    answered: int = 0  # with some text, by the right digest, in time
    right: int = 0
    # id of the item → answered rightly? None: not at all. In the order asked
    by_question: dict[str, bool | None] = Field(default_factory=dict)

    @classmethod
    def of(cls, by_question: Mapping[str, bool | None]) -> Answers:
        given = [right for right in by_question.values() if right is not None]
        return cls(asked=len(by_question), answered=len(given), right=sum(given), by_question=dict(by_question))

    def __add__(self, more: Answers) -> Answers:
        return Answers(
            asked=self.asked + more.asked,
            answered=self.answered + more.answered,
            right=self.right + more.right,
            by_question=self.by_question | more.by_question,
        )


class Checked(Record):
    """One condition at one measurement."""

    outcome: Outcome
    why: str


class Measurement(Record):
    """One look at the figures."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # the upper bound of too few requests

    at: float  # UNIX time, seconds
    figures: Figures
    checks: dict[str, Checked]


def window(first: Sample | None, last: Sample | None) -> Figures:
    """What happened between two samples; all None when they are not of one process."""
    if first is None or last is None or first.identity is None or first.identity != last.identity:
        return {name: None for name in TRAFFIC if name not in BOUNDS}
    requests = last.requests - first.requests
    rates = {
        f"{name}_rate": (getattr(last, kind) - getattr(first, kind)) / requests if requests > 0 else None
        for name, kind in (("error", "errors"), ("empty", "empty"), ("truncated", "truncated"))
    }
    return {
        "requests": float(requests),
        **rates,
        "ttft_p95_ms": quantile(_difference(first.ttft_ms, last.ttft_ms), 0.95),
        "itl_p95_ms": quantile(_difference(first.itl_ms, last.itl_ms), 0.95),
    }


def p95_bounds(first: Sample | None, last: Sample | None, looks: int) -> Figures:
    """Bounds of each latency's true p95 from what happened between two samples, valid at `looks` such looks together.

    They are order statistics: the number of requests at or below the true p95 is binomial, whatever the distribution
    (David & Nagaraja, "Order Statistics", 2003, section 7.1). Read from the histogram, so known to within a bucket.
    All None when the samples are not of one process, or nothing was counted.
    """
    from scipy.special import bdtrik

    figures: Figures = dict.fromkeys(BOUNDS)
    if first is None or last is None or first.identity is None or first.identity != last.identity:
        return figures
    alpha = P95_ALPHA / looks
    for name in LATENCY:
        histogram = _difference(getattr(first, f"{name}_ms"), getattr(last, f"{name}_ms"))
        if (total := max(histogram.values(), default=0)) <= 0:
            continue
        low, high = 0.0, math.inf
        if 0.05**total <= alpha:  # P(no request at or below)
            low = quantile(histogram, (math.floor(bdtrik(alpha, total, 0.95)) + 1) / total) or 0.0
        if 0.95**total <= alpha:  # P(all of them)
            rank = math.ceil(bdtrik(1 - alpha, total, 0.95)) + 1
            finite = max((count for bound, count in histogram.items() if math.isfinite(bound)), default=0)
            high = (quantile(histogram, rank / total) if rank <= finite else None) or math.inf
        figures |= {f"{name}_p95_low_ms": low, f"{name}_p95_high_ms": high}
    return figures


def paired(phase: AnalysisPhase, own: Answers, live: Answers) -> Figures:
    """What the version lost or gained on the questions that the live slot answered, by the test of drift.sequential.

    A question that the live slot did not answer compares nothing; one that only this slot did not answer is lost.
    """
    from drift.sequential import Design, State

    differences = [
        bool(right) - was for key, right in own.by_question.items() if (was := live.by_question.get(key)) is not None
    ]
    if not differences:
        return dict.fromkeys(PAIRED)
    design = Design(
        margin=phase.answers_margin_points / 100,
        alpha=phase.answers_alpha,
        budget=phase.suite_items * phase.count,
        expected_square=EXPECTED_SQUARE,
    )
    look = State(design).update(differences)
    points = (look.delta_points, look.low_points, look.high_points)
    return {name: value / 100 for name, value in zip(PAIRED, points, strict=True)}


def quantile(histogram: Mapping[float, int], share: float) -> float | None:
    """Quantile of a cumulative histogram (upper bound → count), linear within a bucket as Prometheus does it.

    None without observations; the highest finite bound when it falls beyond it.
    """
    bounds = sorted(histogram)
    total = histogram[bounds[-1]] if bounds else 0
    if total <= 0:
        return None
    rank, low, below = share * total, 0.0, 0
    for bound in bounds:
        if histogram[bound] >= rank:
            if math.isinf(bound):
                return low
            inside = histogram[bound] - below
            return low + (bound - low) * ((rank - below) / inside if inside else 1.0)
        low, below = bound, histogram[bound]
    return low


def shares(answers: Answers | None) -> Figures:
    """The suite's figures; None where nothing was asked."""
    if answers is None or answers.asked == 0:
        return dict.fromkeys(ANSWERS)
    return {
        "asked": float(answers.asked),
        "answered_share": answers.answered / answers.asked,
        "right_share": answers.right / answers.asked,
    }


def measure(
    phase: AnalysisPhase, at: float, own: Figures, baseline: Figures | None, why_no_baseline: str = ""
) -> Measurement:
    """Hold the figures against every condition. `baseline` None, or `own` without the names in PAIRED: nothing to
    compare with; such conditions are skipped, and say why."""
    figures = dict(own) | {BASELINE + name: value for name, value in (baseline or {}).items()}
    checks = {}
    for name, text in phase.success_condition.items():
        condition = Condition(text)
        if baseline is None and any(used.startswith((BASELINE, *PAIRED)) for used in condition.names):
            checks[name] = Checked(outcome="Skipped", why=why_no_baseline or "nothing to compare with")
        elif PAIRED[0] not in own and not condition.names.isdisjoint(PAIRED):
            checks[name] = Checked(outcome="Skipped", why="the live slot was asked nothing before the switch")
        else:
            checks[name] = _check(condition, figures, phase.min_requests)
    return Measurement(at=at, figures=figures, checks=checks)


def verdict(phase: AnalysisPhase, taken: Sequence[Measurement]) -> tuple[Verdict | None, str]:
    """The phase's verdict so far with its reason, None while it runs."""
    for name in phase.success_condition:
        outcomes = Counter(measurement.checks[name].outcome for measurement in taken)
        last = next((m.checks[name].why for m in reversed(taken) if m.checks[name].outcome != "Successful"), "")
        of = f"of {len(taken)} measurements"
        if outcomes["Failed"] > phase.failure_limit:
            return "fail", f"{name} failed in {outcomes['Failed']} {of} (limit {phase.failure_limit}): {last}"
        if outcomes["Inconclusive"] > phase.inconclusive_limit:
            count = outcomes["Inconclusive"]
            return "inconclusive", f"{name} had no verdict in {count} {of} (limit {phase.inconclusive_limit}): {last}"
    if len(taken) < phase.count:
        return None, f"{len(taken)} of {phase.count} measurements"
    decided = [name for name in phase.success_condition if taken[-1].checks[name].outcome != "Skipped"]
    if not decided:
        return "inconclusive", "every condition needs a live version to compare with, and there is none"
    skipped = [name for name in phase.success_condition if name not in decided]
    note = f"; skipped, {taken[-1].checks[skipped[0]].why}: {', '.join(skipped)}" if skipped else ""
    return "pass", f"{', '.join(decided)} held in {len(taken)} measurements{note}"


def _check(condition: Condition, figures: Figures, min_requests: int) -> Checked:
    shown = ", ".join(f"{name} {_number(figures.get(name))}" for name in sorted(condition.names))
    for prefix in ("", BASELINE):
        uses = any(prefix + name in condition.names for name in TRAFFIC)
        requests = figures.get(prefix + "requests")
        if uses and (requests is None or requests < min_requests):
            count = "an unknown number of" if requests is None else f"{requests:.0f}"
            return Checked(outcome="Inconclusive", why=f"{count} {prefix}requests, {min_requests} are needed")
    try:
        held = condition.holds(figures)
    except Missing as missing:
        return Checked(outcome="Inconclusive", why=f"{missing}; {shown}")
    return Checked(outcome="Successful" if held else "Failed", why=f"{condition.text}: {shown}")


def _difference(first: Mapping[float, int], last: Mapping[float, int]) -> dict[float, int]:
    return {bound: count - first.get(bound, 0) for bound, count in last.items()}


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
