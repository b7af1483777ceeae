"""Artifact size over that of `select.compare_with`, when `select.max_size_ratio` is set."""

from __future__ import annotations

from collections.abc import Sequence

from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 60


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    limit, name = select.max_size_ratio, select.compare_with
    if limit is None:
        return []
    reference = next((other.benchmark for other in everyone if other.variant == name), None)
    if reference is None or item.benchmark is None:
        why = f"the size of {item.variant if item.benchmark is None else name} is not known"
        return [item.result("size", "inconclusive", why, None, limit, "ratio")]
    ratio = item.benchmark.artifact_mib / reference.artifact_mib
    why = f"{ratio:.0%} of {name}'s size, limit {limit:.0%}"
    return [item.result("size", "pass" if ratio <= limit else "fail", why, ratio, limit, "ratio")]
