"""The gate contract. Each file here holds one condition that a variant must meet before it may be served.

A gate module has
- `ORDER`: its place among the gates, in the decision and in the report's table;
- `judge(item, everyone, select) -> list[GateResult]`: one result for each condition it holds, [] where params set
  none. `everyone` is the evidence of all variants, `item` among them.

A gate is pure, and says `inconclusive` of too little data, never `pass`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records import Benchmark
from core import plugins
from core.records import Verdict
from evaluation.records import Evaluation
from selection.params import SelectParams
from selection.records import GateResult


@dataclass(frozen=True)
class Evidence:
    """All that is known of one variant. `problem` is why its folder is no sound version; then the digest is None."""

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

    def result(
        self,
        gate: str,
        verdict: Verdict,
        why: str,
        measured: float | None = None,
        limit: float | None = None,
        unit: str = "",
    ) -> GateResult:
        """What a gate found about this variant."""
        return GateResult(
            variant=self.variant, gate=gate, measured=measured, limit=limit, unit=unit, verdict=verdict, why=why
        )


def judge(evidence: Sequence[Evidence], select: SelectParams) -> dict[str, list[GateResult]]:
    """Every gate for every variant, in the order of `evidence`; of what is no sound version, the first: integrity."""
    gates = [plugins.load("selection.gates", name) for name in plugins.known("selection.gates")]
    gates.sort(key=lambda gate: gate.ORDER)
    return {
        item.variant: [
            result
            for gate in (gates if item.manifest_sha256 else gates[:1])
            for result in gate.judge(item, evidence, select)
        ]
        for item in evidence
    }
