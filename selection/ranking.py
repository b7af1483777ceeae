"""Which variant to serve: records in, decision out. Nothing here reads a file, a clock or a model.

`selection.gates` says which variants may be served; the objective in params ranks those that pass every gate.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Benchmark, Workload
from core.records import Verdict, combined
from evaluation.records import Evaluation
from selection.gates import Evidence, judge
from selection.params import SelectParams
from selection.records import Decision, GateResult

OBJECTIVE_UNITS = {"throughput": "tok/s", "latency": "ms", "size": "MiB"}
STOPPED: dict[Verdict, str] = {"fail": "failed", "inconclusive": "was inconclusive"}


def decide(evidence: Sequence[Evidence], select: SelectParams) -> Decision:
    """Judge every variant, rank those that pass by the objective (ties by name) and say so in one sentence."""
    judged = judge(evidence, select)
    gates = [gate for own in judged.values() for gate in own]
    passed = [item for item in evidence if combined(gate.verdict for gate in judged[item.variant]) == "pass"]
    values = [(item.variant, objective_value(item.measured_benchmark, select.objective)) for item in passed]
    sign = -1 if select.objective == "throughput" else 1
    ranking = sorted(
        ((name, value) for name, value in values if value is not None), key=lambda pair: (sign * pair[1], pair[0])
    )
    chosen = next((item for item in passed if ranking and item.variant == ranking[0][0]), None)
    reference = next((item for item in evidence if item.variant == select.compare_with), None)
    return Decision(
        variant=chosen.variant if chosen else None,
        manifest_sha256=chosen.manifest_sha256 if chosen else None,
        sentence=_serve(chosen, reference, select.objective)
        if chosen
        else f"Serve none of them. {stopped_by(gates)}",
        objective=select.objective,
        gates=gates,
        ranking=ranking,
        objective_unit=OBJECTIVE_UNITS[select.objective],
    )


def objective_value(benchmark: Benchmark | None, objective: str) -> float | None:
    """Output tok/s at the largest batch, ITL p50 in ms at batch 1, or the artifact's MiB; None if not measured."""
    if benchmark is None:
        return None
    if objective == "size":
        return benchmark.artifact_mib
    if objective == "latency":
        single = benchmark.workload(1)
        return single.itl_ms.p50 if single else None
    largest = largest_workload(benchmark)
    return largest.output_tok_s.median if largest else None


def largest_workload(benchmark: Benchmark) -> Workload | None:
    """The workload of the largest batch, or None where nothing was measured."""
    return max(benchmark.workloads, key=lambda workload: workload.batch, default=None)


def stopped_by(gates: Sequence[GateResult]) -> str:
    """Which gate stopped which variant and why, as one line: `a: drift failed (…), ttft_p95 failed (…); b: …`."""
    stops: dict[str, list[str]] = {}
    for gate in gates:
        if gate.verdict != "pass":
            stops.setdefault(gate.variant, []).append(f"{gate.gate} {STOPPED[gate.verdict]} ({gate.why})")
    return "; ".join(f"{variant}: {', '.join(reasons)}" for variant, reasons in stops.items()) + "."


def _serve(chosen: Evidence, reference: Evidence | None, objective: str) -> str:
    """One sentence for a person: what to serve, what it gains over `compare_with`, what it costs in accuracy."""
    benchmark = chosen.measured_benchmark
    assert benchmark is not None  # it passed the benchmark gate
    baseline = reference.measured_benchmark if reference and reference is not chosen else None
    gain = {"throughput": _throughput, "latency": _latency, "size": _size}[objective](benchmark, baseline)
    return f"Serve {chosen.variant}: {gain}; {_accuracy(chosen.evaluation)}."


def _throughput(benchmark: Benchmark, baseline: Benchmark | None) -> str:
    largest = largest_workload(benchmark)
    assert largest is not None  # it passed the benchmark gate
    value = largest.output_tok_s.median
    against = baseline.workload(largest.batch) if baseline else None
    if baseline is None or against is None:
        return f"{value:,.0f} tok/s at batch {largest.batch}, {benchmark.artifact_mib:,.1f} MiB"
    theirs = against.output_tok_s.median
    size = benchmark.artifact_mib / baseline.artifact_mib
    return (
        f"{value / theirs:.1f}x {baseline.variant}'s throughput at batch {largest.batch} "
        f"({value:,.0f} against {theirs:,.0f} tok/s) at {size:.0%} of its size"
    )


def _latency(benchmark: Benchmark, baseline: Benchmark | None) -> str:
    single, against = benchmark.workload(1), baseline.workload(1) if baseline else None
    assert single is not None  # it passed the benchmark gate
    value = single.itl_ms.p50
    if baseline is None or against is None:
        return f"{value:.2f} ms between tokens at batch 1"
    theirs = against.itl_ms.p50
    return f"{value:.2f} ms between tokens at batch 1, {value / theirs:.0%} of {baseline.variant}'s {theirs:.2f} ms"


def _size(benchmark: Benchmark, baseline: Benchmark | None) -> str:
    value = benchmark.artifact_mib
    share = f", {value / baseline.artifact_mib:.0%} of {baseline.variant}'s size" if baseline else ""
    return f"{value:,.1f} MiB{share}"


def _accuracy(evaluation: Evaluation | None) -> str:
    assert evaluation is not None  # it passed the drift gate
    assert evaluation.delta_points is not None
    delta = evaluation.delta_points
    return (
        f"accuracy {_signed(delta.value)} points [{_signed(delta.low)}, {_signed(delta.high)}] against the original "
        f"over {evaluation.items:,} items, within the {evaluation.margin_points:g}-point margin"
    )


def _signed(points: float) -> str:
    """Two digits with a sign, and no negative zero."""
    return f"{round(points, 2) + 0.0:+.2f}"
