"""What `select` writes: the gates and the decision."""

from __future__ import annotations

from core.records import Record, VariantName, Verdict
from evaluation.records import Evaluation


class GateResult(Record):
    variant: VariantName
    gate: str
    measured: float | None
    limit: float | None
    unit: str
    verdict: Verdict
    why: str


class Confirmation(Record):
    """The winner, compared with the original once more on items that no gate has seen.

    `variant` is None where no comparison is due; `why` says why, or what came of it.
    """

    variant: VariantName | None = None
    manifest_sha256: str | None = None
    evaluation: Evaluation | None = None
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
