"""The comparison: both systems answer the same items chunk by chunk, with a look after each, until it is decided."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from core.progress import say
from data.items import Prepared
from drift import paired
from drift.sequential import Look, State
from evaluation import forced, pairs, record
from evaluation.answers import Answers
from evaluation.pairs import Decode, Pair
from evaluation.record import Plan
from evaluation.records import Evaluation
from evaluation.systems import System


def compare(
    plan: Plan,
    reference: System,
    variant: System,
    rows: Sequence[Prepared],
    decode: Decode,
    vocabulary: int,
    cache: Path,
) -> tuple[Evaluation, list[Pair]]:
    """Compare `variant` with `reference` on `rows`; returns the record and every pair of answers that was looked at.

    `decode` turns token ids into text with `</think>` visible; `vocabulary` is the width of the logits. Answers are
    kept below `cache`: a killed run goes on where it was, another variant finds the reference's answers there.
    """
    begun = time.perf_counter()
    theirs = Answers(reference, rows, plan.decoding, cache / "reference")
    ours = Answers(variant, rows, plan.decoding, cache / "evaluation")
    state, size = State(plan.design), plan.decoding.chunk_items
    looks: list[Look] = []
    done: list[Pair] = []
    for start in range(0, len(rows), size):
        number = start // size
        new = pairs.pair(rows[start : start + size], theirs.chunk(number), ours.chunk(number), decode)
        done.extend(new)
        differences = paired.differences([one.reference_right for one in new], [one.variant_right for one in new])
        looks.append(state.update(differences))
        _tell(plan, looks[-1], done)
        if looks[-1].verdict != "inconclusive" or looks[-1].is_futile:
            break

    count = min(plan.evaluate.teacher_forced_items, len(done))
    answers = [answer for number in range(-(-count // size)) for answer in theirs.chunk(number)][:count]
    folder = ours.folder / f"forced-on-{theirs.key[:16]}"
    scores = forced.compare(reference, variant, rows[:count], answers, plan.evaluate.batch, vocabulary, folder)
    wall_s = time.perf_counter() - begun
    return record.measured(plan, reference, variant, looks, done, scores, wall_s), done


def _tell(plan: Plan, look: Look, done: Sequence[Pair]) -> None:
    flips = [one.variant_right - one.reference_right for one in done]
    state = "a verdict within the budget is unlikely" if look.is_futile else look.verdict
    say(
        f"evaluate: {plan.name}: {look.items:,} items, {flips.count(-1)} lost, {flips.count(1)} gained: "
        f"{100 * look.delta:+.2f} points ({100 * look.low:+.2f} to {100 * look.high:+.2f}, "
        f"margin {plan.margin_points:g}): {state}"
    )
