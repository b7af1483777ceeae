"""Which variant to serve: records in, decision out. Nothing here reads a file, a clock or a model.

`selection.gates` says which variants may be served; the objective in params ranks those that pass every gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.records import Benchmark, Workload
from core.records import Verdict, combined
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation
from selection.gates import Evidence, judge
from selection.params import SelectParams
from selection.records import Confirmation, Decision, GateResult

OBJECTIVE_UNITS = {"throughput": "tok/s", "latency": "ms", "size": "MiB"}
STOPPED: dict[Verdict, str] = {"fail": "failed", "inconclusive": "was inconclusive"}


def decide(
    evidence: Sequence[Evidence], select: SelectParams, evaluate: EvaluateParams, confirmation: Confirmation
) -> Decision:
    """Judge every variant, rank those that pass by the objective (ties by name) and say so in one sentence.

    The first must be safe from luck among many: confirmed on other items, or judged at its share of alpha.
    """
    judged = judge(evidence, select)
    ranking, first = _rank(evidence, judged, select)
    if first:
        judged[first.variant].append(_luck(first, evidence, evaluate, confirmation))
    chosen = first if first and judged[first.variant][-1].verdict == "pass" else None
    gates = [gate for own in judged.values() for gate in own]
    reference = next((item for item in evidence if item.variant == select.compare_with), None)
    return Decision(
        variant=chosen.variant if chosen else None,
        manifest_sha256=chosen.manifest_sha256 if chosen else None,
        sentence=_serve(chosen, reference, select.objective, confirmation.evaluation)
        if chosen
        else f"Serve none of them. {stopped_by(gates)}",
        objective=select.objective,
        gates=gates,
        ranking=ranking,
        objective_unit=OBJECTIVE_UNITS[select.objective],
    )


def to_confirm(evidence: Sequence[Evidence], select: SelectParams, evaluate: EvaluateParams) -> Confirmation:
    """The variant that has to be confirmed, still without evaluation; None, and why, where none has."""
    if evaluate.many_recipes == "share_alpha":
        return Confirmation(why="the recipes share alpha")
    _, first = _rank(evidence, judge(evidence, select), select)
    if first is None:
        return Confirmation(why="no variant passed every gate")
    if len(evidence) == 1:
        return Confirmation(why="there is one recipe, so none was chosen by luck")
    return Confirmation(variant=first.variant, manifest_sha256=first.manifest_sha256, why="to be compared")


def _rank(
    evidence: Sequence[Evidence], judged: Mapping[str, Sequence[GateResult]], select: SelectParams
) -> tuple[list[tuple[str, float]], Evidence | None]:
    """Those that pass every gate, best first, with the objective's value; and the first."""
    passed = [item for item in evidence if combined(gate.verdict for gate in judged[item.variant]) == "pass"]
    values = [(item.variant, objective_value(item.measured_benchmark, select.objective)) for item in passed]
    sign = -1 if select.objective == "throughput" else 1
    ranking = sorted(
        ((name, value) for name, value in values if value is not None), key=lambda pair: (sign * pair[1], pair[0])
    )
    return ranking, next((item for item in passed if ranking and item.variant == ranking[0][0]), None)


def _luck(
    first: Evidence, evidence: Sequence[Evidence], evaluate: EvaluateParams, confirmation: Confirmation
) -> GateResult:
    """Whether the first of many is more than the luckiest."""
    assert first.evaluation is not None  # it passed the drift gate
    limit = -first.evaluation.margin_points
    if len(evidence) == 1:
        return first.result("confirmed", "pass", "one recipe: none was chosen by luck")
    if evaluate.many_recipes == "share_alpha":
        alpha, recipes = first.evaluation.alpha, len(evidence)
        shared = f"alpha {evaluate.alpha:g} is shared by {evaluate.alpha_shares} recipes, {alpha:.2g} each"
        if alpha * recipes > evaluate.alpha * (1 + 1e-9):
            why = f"{shared}, but there are {recipes}: set evaluate.alpha_shares to {recipes}"
            return first.result("confirmed", "inconclusive", why, limit=limit, unit="points")
        return first.result("confirmed", "pass", shared)
    again = confirmation.evaluation
    if again is None or confirmation.manifest_sha256 != first.manifest_sha256:
        why = f"it was not compared on items that no gate has seen ({confirmation.why}): run `dvc repro`"
        return first.result("confirmed", "inconclusive", why, limit=limit, unit="points")
    value = again.delta_points.value if again.delta_points else None
    why = f"on {again.items:,} items that no gate has seen, {again.reason}"
    return first.result("confirmed", again.verdict, why, value, limit, "points")


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


def _serve(chosen: Evidence, reference: Evidence | None, objective: str, again: Evaluation | None) -> str:
    """One sentence for a person: what to serve, what it gains over `compare_with`, what it costs in accuracy."""
    benchmark = chosen.measured_benchmark
    assert benchmark is not None  # it passed the benchmark gate
    baseline = reference.measured_benchmark if reference and reference is not chosen else None
    gain = {"throughput": _throughput, "latency": _latency, "size": _size}[objective](benchmark, baseline)
    return f"Serve {chosen.variant}: {gain}; {_accuracy(again or chosen.evaluation)}."


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
        f"it loses at most {max(0.0, -delta.low):.2f} points of accuracy against the original "
        f"({50 * (1 + delta.level):.4g} % sure, {evaluation.items:,} items, margin {evaluation.margin_points:g})"
    )
