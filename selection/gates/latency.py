"""95th percentiles of the time to first token and between tokens, at batch 1, within `select.slo`.

The upper bound must be within the limit to pass, the lower beyond it to fail: where one request in ten is
above the limit, the estimate of 20 requests passed 39 times in 100; the bound of 59 passes 2 in 1,000.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import REQUESTS_A_ROUND, Percentiles
from core.records import Verdict
from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 50
MIN_P95_REQUESTS = 59  # 0.95 ** 59 < 5 %: the slowest of fewer may well lie under the 95th percentile
MIN_ROUNDS = -(-MIN_P95_REQUESTS // REQUESTS_A_ROUND)


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    single = item.measured_benchmark.workload(1) if item.measured_benchmark else None
    return [
        held_to(item, "ttft_p95", single.ttft_ms if single else None, select.slo.ttft_p95_ms),
        held_to(item, "itl_p95", single.itl_ms if single else None, select.slo.itl_p95_ms),
    ]


def held_to(item: Evidence, gate: str, measured: Percentiles | None, limit_ms: float) -> GateResult:
    """One percentile against its limit, by its bounds."""
    if measured is None:
        return item.result(gate, "inconclusive", "latency at batch 1 was not measured", None, limit_ms, "ms")
    low, high = measured.p95_low, measured.p95_high
    verdict: Verdict = "inconclusive"
    bounds = ", ".join(f"{word} {bound:.1f}" for word, bound in (("at least", low), ("at most", high)) if bound)
    why = f"{measured.p95:.1f} ms ({bounds or 'no bounds'}) against the limit of {limit_ms:g} ms"
    why += f", {measured.requests} requests"
    if low is not None and low > limit_ms:
        verdict = "fail"
    elif high is None:
        why += f", {MIN_P95_REQUESTS} are needed: benchmark.rounds: {MIN_ROUNDS} or more"
    elif high <= limit_ms:
        verdict = "pass"
    else:
        why += f", too few to tell: raise benchmark.rounds, each gives {REQUESTS_A_ROUND}"
    return item.result(gate, verdict, why, measured.p95, limit_ms, "ms")
