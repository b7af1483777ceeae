"""Every metric of drift that has a limit (`evaluate.metrics.<file>.limits`): one gate each, under its own name.

With an interval, all of it must lie on the allowed side to pass, and beyond the limit to fail; in between the gate is
inconclusive. Without one the value decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from drift.records import Metric
from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 30


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    return [_judge(item, metric) for metric in (item.evaluation.metrics if item.evaluation else []) if metric.limit]


def _judge(item: Evidence, metric: Metric) -> GateResult:
    assert metric.limit is not None  # chosen above
    at_most = metric.limit.at_most is not None
    limit = metric.limit.at_most if metric.limit.at_most is not None else metric.limit.at_least
    assert limit is not None  # a limit has one side
    unit, side = metric.unit, "at most" if at_most else "at least"
    if metric.value is None or metric.count == 0:
        why = f"{metric.label}: too little data to hold it to {side} {limit:g}"
        return item.result(metric.name, "inconclusive", why, None, limit, unit)
    verdict = metric.verdict
    interval = (
        "" if metric.level is None else f" [{metric.low:.4g}, {metric.high:.4g}] at {metric.level:.0%} confidence"
    )
    if metric.needs_interval and metric.level is None:
        interval = " (carried by too few items for an interval)"
    shown = f"{metric.label} {metric.value:.4g}{interval}"
    why = f"{shown} against {side} {limit:g}, {metric.count:,} {metric.counted}"
    return item.result(metric.name, verdict, why, metric.value, limit, unit)
