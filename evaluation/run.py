"""The comparison: both systems answer the same items chunk by chunk, with a look after each, until it is decided."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.progress import say
from core.records import Interval
from data.items import Prepared
from drift import metrics
from drift.metrics import Chosen, Comparison, Pair
from drift.proportion import wilson
from drift.records import Look
from drift.sequential import Design, State
from evaluation import forced, pairs
from evaluation.answers import Answers
from evaluation.decoding import Decoding, Sampled
from evaluation.pairs import Decode
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation
from evaluation.systems import System
from host.memory import peak_rss_mib


@dataclass(frozen=True)
class EvaluationPlan:
    """What is asked. `budget` is the number of items that may be spent, the margin is in percentage points."""

    name: str
    margin_points: float
    evaluate: EvaluateParams
    metrics: Chosen
    max_tokens: int
    seed: int
    budget: int
    sampled: Sampled | None = None  # greedy

    @property
    def design(self) -> Design:
        return Design(margin=self.margin_points / 100, alpha=self.evaluate.alpha, budget=self.budget)

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.max_tokens, self.evaluate.batch, self.evaluate.chunk_items, self.sampled, self.seed)


def compare(
    plan: EvaluationPlan,
    reference: System,
    variant: System,
    rows: Sequence[Prepared],
    decode: Decode,
    vocabulary: int,
    cache: Path,
) -> tuple[Evaluation, list[Pair]]:
    """Compare `variant` with `reference` on `rows`; returns the record and every pair of answers that was looked at.

    `decode` turns an answer's ids into text with `</think>` visible; `vocabulary` is the width of the logits. Answers
    are kept below `cache`: a killed run goes on where it was, another variant finds the reference's answers there.
    """
    begun = time.perf_counter()
    theirs = Answers(reference, "reference", rows, plan.decoding, cache / "reference")
    ours = Answers(variant, "variant", rows, plan.decoding, cache / "evaluation")
    state, size = State(plan.design), plan.decoding.chunk_items
    looks: list[Look] = []
    done: list[Pair] = []
    for start in range(0, len(rows), size):
        number = start // size
        new = pairs.pair(rows[start : start + size], theirs.chunk(number), ours.chunk(number), decode)
        done.extend(new)
        looks.append(state.update([one.difference for one in new]))
        _report_look(plan, looks[-1], done)
        if looks[-1].verdict != "inconclusive" or looks[-1].is_futile:
            break

    count = min(plan.evaluate.teacher_forced_items, len(done))
    answers = [answer for number in range(-(-count // size)) for answer, *_ in theirs.chunk(number)][:count]
    folder = ours.folder / f"forced-on-{theirs.key[:16]}"
    scores = forced.compare(reference, variant, rows[:count], answers, plan.evaluate.batch, vocabulary, folder)
    last = looks[-1]
    record = Evaluation(
        **_about(plan, reference, variant.sha256, variant.runtime_name, begun),
        runtime_version=variant.runtime.version,
        status="measured",
        verdict=last.verdict,
        reason=reason(plan, last),
        items=last.items,
        items_to_settle=last.items_to_settle,
        accuracy_reference=wilson(sum(one.reference.share_right for one in done), last.items),
        accuracy_variant=wilson(sum(one.variant.share_right for one in done), last.items),
        # The confidence sequence: unlike a fixed-sample interval it holds although the data decided when to stop.
        delta_points=Interval(
            value=last.delta_points,
            low=last.low_points,
            high=last.high_points,
            level=1 - 2 * plan.evaluate.alpha,
            count=last.items,
        ),
        looks=looks,
        by_task=pairs.by_task(done),
        metrics=metrics.measure(plan.metrics, Comparison(done, scores, seed=plan.seed)),
        flip_examples=pairs.flip_examples(done),
    )
    return record, done


def unmeasured(
    plan: EvaluationPlan,
    reference: System,
    manifest_sha256: str,
    runtime_name: str,
    status: Literal["not_measured_here", "failed"],
    why: str,
) -> Evaluation:
    """The record where the runtime cannot run on this machine (inconclusive), or where the recipe failed (fail)."""
    return Evaluation(
        **_about(plan, reference, manifest_sha256, runtime_name, time.perf_counter()),
        runtime_version="",
        status=status,
        why_not_measured=why,
        verdict="fail" if status == "failed" else "inconclusive",
        reason=why if status == "failed" else f"not measured here: {why}",
    )


def reason(plan: EvaluationPlan, look: Look) -> str:
    """One sentence for the verdict, with the interval, the margin and the count it rests on."""
    seen = (
        f"the difference is between {look.low_points:+.2f} and {look.high_points:+.2f} points "
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


def _about(
    plan: EvaluationPlan, reference: System, manifest_sha256: str, runtime_name: str, begun: float
) -> dict[str, Any]:
    """What every record says: whom it is about, what was asked and what it cost."""
    return {
        "variant": plan.name,
        "manifest_sha256": manifest_sha256,
        "runtime": runtime_name,
        "reference_sha256": reference.sha256,
        "reference_runtime": reference.runtime_name,
        "seed": plan.seed,
        "margin_points": plan.margin_points,
        "alpha": plan.evaluate.alpha,
        "items_budget": plan.budget,
        "wall_s": time.perf_counter() - begun,
        # largest resident size of this process so far: both systems and the statistics
        "peak_rss_mib": peak_rss_mib(),
    }


def _report_look(plan: EvaluationPlan, look: Look, done: Sequence[Pair]) -> None:
    lost, gained = sum(one.difference < 0 for one in done), sum(one.difference > 0 for one in done)
    state = "a verdict within the budget is unlikely" if look.is_futile else look.verdict
    say(
        f"evaluate: {plan.name}: {look.items:,} items, {lost} lost, {gained} gained: "
        f"{look.delta_points:+.2f} points ({look.low_points:+.2f} to {look.high_points:+.2f}, "
        f"margin {plan.margin_points:g}): {state}"
    )
