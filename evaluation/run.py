"""The comparison: both systems answer the same items chunk by chunk, with a look after each, until it is decided."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core import paths
from core.progress import say
from core.records import Interval, Verdict
from data import items
from data.items import Prepared
from drift import metrics, power
from drift.divergence import TokenScores
from drift.metrics import Comparison, Pair
from drift.power import forecast
from drift.proportion import wilson
from drift.records import Look
from drift.sequential import Design, State
from evaluation import forced, pairs, systems, validity
from evaluation.answers import Answers, digest
from evaluation.attempts import Ledger
from evaluation.plan import EvaluationPlan
from evaluation.records import Evaluation
from evaluation.systems import System
from host.memory import peak_rss_mib
from models import tokenizer
from models.tokenizer import Tokenizer
from runtimes import Generation


def judge(
    plan: EvaluationPlan,
    reference: System,
    folder: Path,
    rows: Sequence[Prepared],
    texts: Sequence[Prepared],
    threads: int,
) -> tuple[Evaluation, list[Pair]]:
    """`compare` for the version in `folder`, already verified, with the usual model and cache."""
    variant = systems.version(folder, threads, plan.name)
    compared = compare(plan, reference, variant, rows, texts, tokenizer.load(paths.MODEL), paths.CACHE)
    variant.close()
    return compared


def compare(
    plan: EvaluationPlan,
    reference: System,
    variant: System,
    rows: Sequence[Prepared],
    texts: Sequence[Prepared],
    words: Tokenizer,
    cache: Path,
) -> tuple[Evaluation, list[Pair]]:
    """Compare `variant` with `reference` on `rows`; returns the record and every pair of answers that was looked at.

    `texts` are the user's own passages, for the metrics of next-token distributions. Answers are kept below `cache`:
    a killed run goes on where it was, another variant finds the reference's answers there.
    """
    begun = time.perf_counter()
    theirs = Answers(reference, "reference", rows, plan.decoding, cache / "reference")
    ours = Answers(variant, "variant", rows, plan.decoding, cache / "evaluation")
    clusters = items.clusters([row.item for row in rows])
    ledger = Ledger(plan.claim, _evidence(plan, variant, rows), len(clusters))
    design, size = plan.design(len(clusters), ledger), plan.evaluate.chunk_items
    powers = forecast(design, samples=plan.decoding.samples, chunk_items=size)
    for line in power.lines(powers):
        say(f"evaluate: {plan.name}: {line}")
    state, looks, done = State(design), list[Look](), list[Pair]()
    seen, valid = Comparison(), validity.Validity("clear")
    for number in range(-(-len(rows) // size)):
        chunk = rows[number * size : (number + 1) * size]
        done += pairs.pair(chunk, theirs.chunk(number), ours.chunk(number), words.answer)
        ready = [one for one in clusters[looks[-1].items if looks else 0 :] if one[-1] < len(done)]
        looks.append(state.update([float(np.mean([done[row].difference for row in one])) for one in ready]))
        ledger.keep(looks[-1])
        valid = validity.look(plan.evaluate.validity, done)
        whole = sum(map(len, clusters[: looks[-1].items]))
        seen = _seen(plan, design, rows, done[:whole])
        _report_look(plan, looks[-1], done, valid)
        if _is_over(plan, looks[-1], seen, valid):
            break

    scores = _forced(plan, reference, variant, rows[: len(done)], texts, theirs, words.rows, ours.folder)
    last = looks[-1]
    verdict: Verdict = last.verdict if valid.state == "clear" or last.verdict == "fail" else "inconclusive"
    record = Evaluation(
        **_about(plan, reference, variant.sha256, variant.runtime_name, len(clusters), begun),
        runtime_version=variant.runtime.version,
        status="measured",
        verdict=verdict,
        reason=valid.why if verdict == "inconclusive" and valid.why else reason(plan, last, len(clusters)),
        why_no_verdict=valid.why,
        reference_replies=validity.replies(done, valid.suite) if valid.suite else [],
        power=powers,
        attempt=ledger.number,
        earlier_wealth=ledger.attempt.earlier_wealth,
        items=last.items,
        items_to_settle=last.items_to_settle,
        accuracy_reference=wilson(sum(one.reference.share_right for one in done), len(done)),
        accuracy_variant=wilson(sum(one.variant.share_right for one in done), len(done)),
        # The confidence sequence: unlike a fixed-sample interval it holds although the data decided when to stop.
        delta_points=Interval(
            value=last.delta_points,
            low=last.low_points,
            high=last.high_points,
            level=1 - 2 * plan.evaluate.own_alpha,
            count=last.items,
        ),
        looks=looks,
        by_task=pairs.by_task(done),
        metrics=metrics.measure(plan.metrics, replace(seen, scores=scores[0], text_scores=scores[1])),
        flip_examples=pairs.flip_examples(done),
    )
    return record, done


def _is_over(plan: EvaluationPlan, last: Look, seen: Comparison, valid: validity.Validity) -> bool:
    """Whether more items would change nothing: lost, hopeless, or passed with every gate of the answers decided.

    Gates of next-token distributions have their own items and are not waited for.
    """
    if last.verdict == "fail" or last.is_futile or valid.state == "hopeless":
        return True
    if last.verdict != "pass" or valid.state == "open":
        return False
    gates = [one for one in metrics.measure(plan.metrics, seen) if one.limit and one.value is not None]
    undecided = [one for one in gates if one.verdict == "inconclusive"]
    return not undecided or any(one.is_futile for one in undecided) or any(one.verdict == "fail" for one in gates)


def _seen(plan: EvaluationPlan, design: Design, rows: Sequence[Prepared], whole: Sequence[Pair]) -> Comparison:
    """`whole`: the pairs of those clusters that are there to their last item."""
    return Comparison(
        pairs=whole,
        seed=plan.seed,
        alpha=plan.evaluate.own_alpha,
        budget=design.budget,
        tasks=Counter(row.item.task for row in rows),
        max_tokens=plan.decoding.max_tokens,
    )


def _forced(
    plan: EvaluationPlan,
    reference: System,
    variant: System,
    rows: Sequence[Prepared],
    texts: Sequence[Prepared],
    theirs: Answers,
    vocabulary: int,
    folder: Path,
) -> tuple[list[TokenScores], list[TokenScores]]:
    """Scores on the reference's first answers to the first items, and on the user's own passages after their first
    token."""
    rows = rows[: plan.evaluate.teacher_forced_items]
    chunks = range(-(-len(rows) // plan.evaluate.chunk_items))
    answers = [answer[0] for number in chunks for answer in theirs.chunk(number)][: len(rows)]
    starts = [replace(text, prompt_ids=text.prompt_ids[:1]) for text in texts]
    rest = [Generation(text.prompt_ids[1:], finished=True) for text in texts]
    batch, folder = plan.evaluate.batch, folder / f"forced-on-{theirs.key[:16]}"
    return (
        forced.compare(reference, variant, rows, answers, batch, vocabulary, folder),
        forced.compare(reference, variant, starts, rest, batch, vocabulary, folder),
    )


def _evidence(plan: EvaluationPlan, variant: System, rows: Sequence[Prepared]) -> str:
    """What makes an attempt the same one: the variant, its first items and how they were answered."""
    first = [[row.item.id, row.prompt_ids] for row in rows[: plan.evaluate.chunk_items]]
    return digest([variant.sha256, first, repr(plan.decoding)])


def unmeasured(
    plan: EvaluationPlan,
    reference: System,
    manifest_sha256: str,
    runtime_name: str,
    budget: int,
    status: Literal["not_measured_here", "failed"],
    why: str,
) -> Evaluation:
    """The record where the runtime cannot run on this machine (inconclusive), or where the recipe failed (fail)."""
    return Evaluation(
        **_about(plan, reference, manifest_sha256, runtime_name, budget, time.perf_counter()),
        runtime_version="",
        status=status,
        why_not_measured=why,
        verdict="fail" if status == "failed" else "inconclusive",
        reason=why if status == "failed" else f"not measured here: {why}",
    )


def reason(plan: EvaluationPlan, look: Look, budget: int) -> str:
    """One sentence for the verdict, with the interval, the margin and the count it rests on."""
    seen = (
        f"the difference is between {look.low_points:+.2f} and {look.high_points:+.2f} points "
        f"({100 * (1 - 2 * plan.evaluate.own_alpha):.3g} % confidence at every look, "
        f"{look.items:,} of {budget:,} items)"
    )
    margin = f"the margin of {plan.margin_points:g} points"
    if look.verdict == "pass":
        return f"{seen}: any loss is smaller than {margin}"
    if look.verdict == "fail":
        return f"{seen}: the loss is larger than {margin}"
    settle = (
        f"about {look.items_to_settle:,} items would settle it" if look.items_to_settle else "it sits on the margin"
    )
    early = look.is_futile and look.items < budget
    end = "stopped early, a verdict within the budget is unlikely" if early else "the budget is spent"
    return f"{seen}, which holds {margin}; {end}, {settle}"


def _about(
    plan: EvaluationPlan, reference: System, manifest_sha256: str, runtime_name: str, budget: int, begun: float
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
        "alpha": plan.evaluate.own_alpha,
        "target": plan.evaluate.target,
        "samples": plan.decoding.samples,
        "items_budget": budget,
        "wall_s": time.perf_counter() - begun,
        # largest resident size of this process so far: both systems and the statistics
        "peak_rss_mib": peak_rss_mib(),
    }


def _report_look(plan: EvaluationPlan, look: Look, done: Sequence[Pair], valid: validity.Validity) -> None:
    lost, gained = sum(one.difference < 0 for one in done), sum(one.difference > 0 for one in done)
    state: str = "a verdict within the budget is unlikely" if look.is_futile else look.verdict
    if valid.why and look.verdict != "fail":
        state = valid.why
    say(
        f"evaluate: {plan.name}: {look.items:,} items, {lost} lost, {gained} gained: "
        f"{look.delta_points:+.2f} points ({look.low_points:+.2f} to {look.high_points:+.2f}, "
        f"margin {plan.margin_points:g}): {state}"
    )
