"""What is asked of a comparison, and the record that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.records import Interval
from drift import behaviour, divergence, paired
from drift.divergence import TokenScores
from drift.proportion import wilson
from drift.sequential import Design, Look
from evaluation import pairs, records
from evaluation.answers import Decoding
from evaluation.pairs import Pair
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation
from evaluation.systems import System
from host.memory import peak_rss_mib


@dataclass(frozen=True)
class Plan:
    """What is asked. `budget` is the number of items that may be spent, the margin is in percentage points."""

    name: str
    margin_points: float
    evaluate: EvaluateParams
    max_tokens: int
    seed: int
    budget: int

    @property
    def design(self) -> Design:
        return Design(margin=self.margin_points / 100, alpha=self.evaluate.alpha, budget=self.budget)

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.max_tokens, self.evaluate.batch, self.evaluate.chunk_items)


def measured(
    plan: Plan,
    reference: System,
    variant: System,
    looks: Sequence[Look],
    done: Sequence[Pair],
    scores: Sequence[TokenScores],
    wall_s: float,
) -> Evaluation:
    """The record of a comparison: all its looks, the pairs it looked at, and the teacher-forced scores."""
    last = looks[-1]
    theirs, ours = [one.reference_right for one in done], [one.variant_right for one in done]
    return Evaluation(
        variant=plan.name,
        manifest_sha256=variant.sha256,
        runtime=variant.runtime_name,
        runtime_version=variant.runtime.version,
        reference_sha256=reference.sha256,
        reference_runtime=reference.runtime_name,
        seed=plan.seed,
        status="measured",
        verdict=last.verdict,
        reason=reason(plan, last),
        margin_points=plan.margin_points,
        alpha=plan.evaluate.alpha,
        items=last.items,
        items_budget=plan.budget,
        items_to_settle=last.items_to_settle,
        accuracy_reference=wilson(sum(theirs), last.items),
        accuracy_variant=wilson(sum(ours), last.items),
        delta_points=_delta(plan, last),
        flips=paired.flips(theirs, ours),
        looks=[_look(look) for look in looks],
        by_task=pairs.by_task(done),
        behaviour=behaviour.compare([one.reference for one in done], [one.variant for one in done]),
        teacher_forced=divergence.summarize(scores, plan.seed),
        flip_examples=pairs.flip_examples(done),
        wall_s=wall_s,
        peak_rss_mib=peak_rss_mib(),
    )


def not_measured(plan: Plan, reference: System, manifest_sha256: str, runtime_name: str, why: str) -> Evaluation:
    """The record where the runtime cannot run on this machine: inconclusive, never a pass."""
    return Evaluation(
        variant=plan.name,
        manifest_sha256=manifest_sha256,
        runtime=runtime_name,
        runtime_version="",
        reference_sha256=reference.sha256,
        reference_runtime=reference.runtime_name,
        seed=plan.seed,
        status="not_measured_here",
        why_not_measured=why,
        verdict="inconclusive",
        reason=f"not measured here: {why}",
        margin_points=plan.margin_points,
        alpha=plan.evaluate.alpha,
        items=0,
        items_budget=plan.budget,
        items_to_settle=None,
        accuracy_reference=None,
        accuracy_variant=None,
        delta_points=None,
        flips=None,
        looks=[],
        by_task=[],
        behaviour=None,
        teacher_forced=None,
        flip_examples=[],
        wall_s=0.0,
        peak_rss_mib=peak_rss_mib(),
    )


def reason(plan: Plan, look: Look) -> str:
    """One sentence for the verdict, with the interval, the margin and the count it rests on."""
    seen = (
        f"the difference is between {100 * look.low:+.2f} and {100 * look.high:+.2f} points "
        f"({1 - 2 * plan.evaluate.alpha:.0%} confidence at every look, {look.items:,} of {plan.budget:,} items)"
    )
    margin = f"the margin of {plan.margin_points:g} points"
    if look.verdict == "pass":
        return f"{seen}: any loss is smaller than {margin}"
    if look.verdict == "fail":
        return f"{seen}: the loss is larger than {margin}"
    settle = (
        f"about {look.items_to_settle:,} items would settle it" if look.items_to_settle else "it sits on the margin"
    )
    early = look.is_futile and look.items < plan.budget
    end = "stopped early, a verdict within the budget is unlikely" if early else "the budget is spent"
    return f"{seen}, which holds {margin}; {end}, {settle}"


def _delta(plan: Plan, look: Look) -> Interval:
    """The confidence sequence: unlike a fixed-sample interval it holds although the data decided when to stop."""
    value, low, high = (100 * share for share in (look.delta, look.low, look.high))
    return Interval(value=value, low=low, high=high, level=1 - 2 * plan.evaluate.alpha, count=look.items)


def _look(look: Look) -> records.Look:
    return records.Look(
        items=look.items, delta_points=100 * look.delta, low_points=100 * look.low, high_points=100 * look.high
    )
