"""The evaluation's verdict about accuracy, against the recipe's margin."""

from __future__ import annotations

from collections.abc import Sequence

from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 20


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    record = item.evaluation
    if record is None or record.status != "measured":
        why = (record.why_not_measured if record else None) or "accuracy was not measured"
        failed = record is not None and record.status == "failed"
        return [item.result("drift", "fail" if failed else "inconclusive", why, unit="points")]
    value = record.delta_points.value if record.delta_points else None
    verdict, why = record.verdict, record.reason
    if verdict == "pass" and (value is None or record.items == 0):
        verdict, why = "inconclusive", f"the evaluation rests on {record.items} items and gives no difference"
    return [item.result("drift", verdict, why, value, -record.margin_points, "points")]
