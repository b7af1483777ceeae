"""95th percentiles of the time to first token and between tokens, at batch 1, within `select.slo`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Percentiles
from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 50
MIN_P95_SAMPLES = 20  # below 20 the 95th percentile is just the slowest sample


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    single = item.measured_benchmark.workload(1) if item.measured_benchmark else None
    return [
        _p95(item, "ttft_p95", single.ttft_ms if single else None, select.slo.ttft_p95_ms),
        _p95(item, "itl_p95", single.itl_ms if single else None, select.slo.itl_p95_ms),
    ]


def _p95(item: Evidence, gate: str, measured: Percentiles | None, limit_ms: float) -> GateResult:
    if measured is None:
        return item.result(gate, "inconclusive", "latency at batch 1 was not measured", None, limit_ms, "ms")
    if measured.count < MIN_P95_SAMPLES:
        why = f"{measured.count} samples, a 95th percentile needs {MIN_P95_SAMPLES}: raise benchmark.rounds"
        return item.result(gate, "inconclusive", why, measured.p95, limit_ms, "ms")
    why = f"{measured.p95:.1f} ms against the limit of {limit_ms:g} ms, {measured.count} samples"
    return item.result(gate, "pass" if measured.p95 <= limit_ms else "fail", why, measured.p95, limit_ms, "ms")
