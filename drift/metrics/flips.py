"""Answers whose rightness changed, and McNemar's exact test: is one direction more frequent?

Its p presumes that the number of items was fixed beforehand: after sequential stopping it is descriptive (simulated:
below 0.05 for up to 7 % of equal variants), and the verdict is drift.sequential's. Source: McNemar, Psychometrika
1947.
"""

from __future__ import annotations

from functools import partial

from scipy.stats import binomtest

from drift.metrics import Comparison, MetricOptions
from drift.records import Metric

NAMES = ("answers_lost", "answers_gained", "mcnemar_p")
OPTIONAL = ("mcnemar_p",)  # of one answer an item


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """`lost`: the reference is right more often; `gained`: the variant is."""
    if not seen.pairs:
        return []
    lost = sum(pair.difference < 0 for pair in seen.pairs)
    gained = sum(pair.difference > 0 for pair in seen.pairs)
    metric = partial(Metric, group="Changed answers", count=len(seen.pairs), counted="items")
    found = [
        metric(name="answers_lost", label="answers lost", unit="items", value=lost),
        metric(name="answers_gained", label="answers gained", unit="items", value=gained),
    ]
    if len(seen.pairs[0].reference.answers) == 1:
        label, p = "McNemar p, exact, not adjusted for looks", mcnemar_p(lost, gained)
        found.append(metric(name="mcnemar_p", label=label, unit="probability", value=p))
    return found


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided p of `lost` against `gained` under equal rates; 1 when nothing flipped."""
    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0
