"""Measured, at batch 1 too, on the machine that most of the variants were measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from host.records import Machine
from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 40
Place = tuple[str, int, int, str]


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    return [_judge(item, everyone)]


def _judge(item: Evidence, everyone: Sequence[Evidence]) -> GateResult:
    record = item.benchmark
    gate, batches = "benchmark", float(len(record.workloads)) if record else None
    if record is None or record.status != "measured":
        why = (record.why_not_measured if record else None) or "speed was not measured"
        failed = record is not None and record.status == "failed"
        return item.result(gate, "fail" if failed else "inconclusive", why, batches, unit="workloads")
    if record.workload(1) is None:
        why = "batch 1 was not measured: add it to benchmark.batches"
        return item.result(gate, "inconclusive", why, batches, unit="workloads")
    here, there = _place(record.machine), _commonest(everyone)
    if here != there:
        places = [" · ".join(map(str, place)) for place in (here, there)]
        why = f"measured on another machine ({places[0]}) than the other variants ({places[1]})"
        return item.result(gate, "inconclusive", why, batches, unit="workloads")
    why = f"measured at batch {', '.join(str(workload.batch) for workload in record.workloads)}"
    return item.result(gate, "pass", why, batches, unit="workloads")


def _place(machine: Machine) -> Place:
    return machine.cpu, machine.cores, machine.threads, machine.accelerator or "no GPU"


def _commonest(everyone: Sequence[Evidence]) -> Place:
    """Where most were measured; there is at least one, the variant that asks."""
    places = [_place(other.measured_benchmark.machine) for other in everyone if other.measured_benchmark]
    return Counter(places).most_common(1)[0][0]
