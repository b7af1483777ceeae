"""What sampled answers say beside their mean: avg@k, pass@k, and how long an answer took that came to its end.

pass@k is the chance that one of k answers to an item is right; with just k answers an item it is the share of items
with a right one (Chen et al., "Evaluating Large Language Models Trained on Code", 2021, equation 1 with n = k).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from drift.metrics import Comparison, MetricOptions, Side
from drift.records import Metric

SAMPLED = ("avg_at_k", "pass_at_k")
NAMES = (*SAMPLED, "tokens_to_an_answer")
OPTIONAL = NAMES  # greedy answers are one an item; where all are cut off there is none to count


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """The figures of both sides; avg@k and pass@k where there are several answers to an item."""
    if not seen.pairs:
        return []
    samples = len(seen.pairs[0].reference.answers)
    metric = partial(Metric, group="Answers", count=len(seen.pairs), counted="items")
    found = []
    if samples > 1:
        labels = (f"avg@{samples}", f"pass@{samples}")
        figures: tuple[Callable[[Side], float], ...] = (lambda side: side.share_right, lambda side: any(side.right))
        for name, label, figure in zip(SAMPLED, labels, figures, strict=True):
            reference, variant = (float(np.mean([figure(side) for side in sides])) for sides in seen.sides)
            found.append(metric(name=name, label=label, unit="share", value=variant, reference=reference))
    lengths = [
        [len(answer.token_ids) for side in sides for answer in side.answers if answer.finished]
        for sides in seen.sides
    ]
    if all(lengths):
        reference, variant = (float(np.mean(one)) for one in lengths)
        label = "tokens to an answer that ended"
        found.append(
            metric(name="tokens_to_an_answer", label=label, unit="tokens", value=variant, reference=reference)
        )
    return found
