"""Every task for itself: a variant may be as good on average and have lost one thing altogether.

The paired difference of accuracy in points, by the sequential test at alpha over the number of tasks, so that all of
them hold together. A suite of one task has none: that is the accuracy itself.
"""

from __future__ import annotations

import re

from drift import paired
from drift.metrics import Comparison, MetricOptions
from drift.records import Limit, Metric

MARGIN_POINTS = 3.0  # where params take the gate away
NAMES: tuple[str, ...] = ()
PREFIX = "task_"
LIMITS = {PREFIX: Limit(at_least=-MARGIN_POINTS)}


def measure(seen: Comparison, options: MetricOptions) -> list[Metric]:
    """One metric for each task that was seen, in alphabetical order."""
    tasks = dict(seen.tasks) or dict.fromkeys((pair.item.task for pair in seen.pairs), 0)
    if len(tasks) < 2:
        return []
    alpha, found = seen.alpha / len(tasks), []
    for task, budget in sorted(tasks.items()):
        pairs = [pair for pair in seen.pairs if pair.item.task == task]
        if not pairs:
            continue
        name = PREFIX + re.sub(r"[^\w\-. /]", "_", task, flags=re.ASCII)
        limit = options.limits.get(name, options.limits.get(PREFIX))
        margin = MARGIN_POINTS if limit is None or limit.at_least is None else -limit.at_least
        look = paired.look(pairs, [pair.difference for pair in pairs], margin / 100, alpha, budget)
        found.append(
            Metric(
                name=name,
                label=task,
                group="Difference by task",
                unit="points",
                value=look.delta_points,
                low=look.low_points,
                high=look.high_points,
                level=1 - 2 * alpha,
                count=look.items,
                counted="items",
                is_futile=look.is_futile,
            )
        )
    return found
