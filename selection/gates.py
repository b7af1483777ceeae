"""The gates that a variant must pass before it may be served: one pure function each, one GateResult each.

    integrity  folder, evaluation and benchmark are about the same manifest digest and the same runtime
    drift      the evaluation's verdict against the recipe's margin
    benchmark  measured, at batch 1 too, on the machine the others were measured on
    ttft_p95, itl_p95   95th percentile at batch 1 within the SLO
    size       artifact over fp32's, when `select.max_size_ratio` is set

Too little data is `inconclusive`, never `pass`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records import Benchmark, Percentiles
from core.records import Verdict
from evaluation.records import Evaluation
from host.records import Machine
from selection.params import SelectParams
from selection.records import GateResult

MIN_P95_SAMPLES = 20  # below 20 the 95th percentile is just the slowest sample
SIZE_REFERENCE = "fp32"


@dataclass(frozen=True)
class Evidence:
    """All that is known of one variant. `problem` is why its folder cannot be trusted; then the digest is None."""

    variant: str
    runtime: str
    manifest_sha256: str | None
    problem: str | None
    evaluation: Evaluation | None
    benchmark: Benchmark | None

    @property
    def measured_benchmark(self) -> Benchmark | None:
        """The benchmark if it was measured here, else None."""
        return self.benchmark if self.benchmark and self.benchmark.status == "measured" else None


def judge(evidence: Sequence[Evidence], select: SelectParams) -> dict[str, list[GateResult]]:
    """Every gate for every variant, in the order of `evidence`."""
    common = _common_machine(evidence)
    reference = next((item for item in evidence if item.variant == SIZE_REFERENCE), None)
    results = {}
    for item in evidence:
        own = [_integrity(item), _drift(item), _benchmark(item, common), *_latency(item, select)]
        if select.max_size_ratio is not None:
            own.append(_size(item, reference, select.max_size_ratio))
        results[item.variant] = own
    return results


def _integrity(item: Evidence) -> GateResult:
    def result(verdict: Verdict, why: str) -> GateResult:
        return _gate(item, "integrity", None, None, "", verdict, why)

    if item.manifest_sha256 is None:
        return result("fail", item.problem or "the variant has no manifest")
    for name, record in (("evaluation", item.evaluation), ("benchmark", item.benchmark)):
        if record is None:
            return result("inconclusive", f"there is no {name} to compare with the manifest")
        if record.manifest_sha256 != item.manifest_sha256:
            theirs, ours = record.manifest_sha256[:12], item.manifest_sha256[:12]
            return result("fail", f"the {name} is about manifest {theirs}, the folder is {ours}: run `dvc repro`")
        if record.runtime != item.runtime:
            return result("fail", f"the {name} ran on '{record.runtime}', the variant is served by '{item.runtime}'")
    return result("pass", f"folder, evaluation and benchmark agree on manifest {item.manifest_sha256[:12]}")


def _drift(item: Evidence) -> GateResult:
    record = item.evaluation
    if record is None or record.status != "measured":
        why = record.why_not_measured if record else None
        return _gate(item, "drift", None, None, "points", "inconclusive", why or "accuracy was not measured")
    value = record.delta_points.value if record.delta_points else None
    verdict, why = record.verdict, record.reason
    if verdict == "pass" and (value is None or record.items == 0):
        verdict, why = "inconclusive", f"the evaluation rests on {record.items} items and gives no difference"
    return _gate(item, "drift", value, -record.margin_points, "points", verdict, why)


def _benchmark(item: Evidence, common: Machine | None) -> GateResult:
    def result(verdict: Verdict, why: str) -> GateResult:
        batches = float(len(item.benchmark.workloads)) if item.benchmark else None
        return _gate(item, "benchmark", batches, None, "workloads", verdict, why)

    record = item.benchmark
    if record is None or record.status != "measured":
        return result("inconclusive", (record.why_not_measured if record else None) or "speed was not measured")
    if record.workload(1) is None:
        return result("inconclusive", "batch 1 was not measured: add it to benchmark.batches")
    if common is not None and _place(record.machine) != _place(common):
        here, there = " · ".join(map(str, _place(record.machine))), " · ".join(map(str, _place(common)))
        return result("inconclusive", f"measured on another machine ({here}) than the other variants ({there})")
    return result("pass", f"measured at batch {', '.join(str(workload.batch) for workload in record.workloads)}")


def _latency(item: Evidence, select: SelectParams) -> list[GateResult]:
    single = item.measured_benchmark.workload(1) if item.measured_benchmark else None
    return [
        _p95(item, "ttft_p95", single.ttft_ms if single else None, select.slo.ttft_p95_ms),
        _p95(item, "itl_p95", single.itl_ms if single else None, select.slo.itl_p95_ms),
    ]


def _p95(item: Evidence, gate: str, measured: Percentiles | None, limit_ms: float) -> GateResult:
    if measured is None:
        return _gate(item, gate, None, limit_ms, "ms", "inconclusive", "latency at batch 1 was not measured")
    if measured.count < MIN_P95_SAMPLES:
        why = f"{measured.count} samples, a 95th percentile needs {MIN_P95_SAMPLES}: raise benchmark.rounds"
        return _gate(item, gate, measured.p95, limit_ms, "ms", "inconclusive", why)
    verdict: Verdict = "pass" if measured.p95 <= limit_ms else "fail"
    why = f"{measured.p95:.1f} ms against the limit of {limit_ms:g} ms, {measured.count} samples"
    return _gate(item, gate, measured.p95, limit_ms, "ms", verdict, why)


def _size(item: Evidence, reference: Evidence | None, limit: float) -> GateResult:
    if reference is None or reference.benchmark is None or item.benchmark is None:
        missing = item.variant if item.benchmark is None else SIZE_REFERENCE
        return _gate(item, "size", None, limit, "ratio", "inconclusive", f"the size of {missing} is not known")
    ratio = item.benchmark.artifact_mib / reference.benchmark.artifact_mib
    verdict: Verdict = "pass" if ratio <= limit else "fail"
    return _gate(
        item, "size", ratio, limit, "ratio", verdict, f"{ratio:.0%} of {SIZE_REFERENCE}'s size, limit {limit:.0%}"
    )


def _gate(
    item: Evidence, gate: str, measured: float | None, limit: float | None, unit: str, verdict: Verdict, why: str
) -> GateResult:
    return GateResult(
        variant=item.variant, gate=gate, measured=measured, limit=limit, unit=unit, verdict=verdict, why=why
    )


def _place(machine: Machine) -> tuple[str, int, int, str]:
    return machine.cpu, machine.cores, machine.threads, machine.accelerator or "no GPU"


def _common_machine(evidence: Sequence[Evidence]) -> Machine | None:
    machines = [item.measured_benchmark.machine for item in evidence if item.measured_benchmark]
    if not machines:
        return None
    place = Counter(map(_place, machines)).most_common(1)[0][0]
    return next(machine for machine in machines if _place(machine) == place)
