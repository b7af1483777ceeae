"""What `select` writes: the gates and the decision."""

from __future__ import annotations

from core.records import Record, VariantName, Verdict


class GateResult(Record):
    variant: VariantName
    gate: str
    measured: float | None
    limit: float | None
    unit: str
    verdict: Verdict
    why: str


class Decision(Record):
    """What to serve and why. `variant` is None when no variant passed every gate."""

    variant: VariantName | None
    manifest_sha256: str | None
    sentence: str
    objective: str
    gates: list[GateResult]
    ranking: list[tuple[VariantName, float]]  # variants that passed, best first, with the objective's value
    objective_unit: str
