"""All that the report shows, gathered from what earlier stages wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.params import BenchmarkParams
from benchmarks.records import Benchmark, Workload
from calibration.params import CalibrateParams
from core import paths
from core.errors import IntegrityError
from core.params import Seed
from core.records import Verdict, combined
from data.params import DataParams
from data.records import DataChecks
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.records import Evaluation
from host.params import MachineParams
from models import manifest
from models.manifest import Manifest
from models.params import ModelParams, Recipe
from registry import provenance
from registry.provenance import Provenance
from selection.params import SelectSettings
from selection.records import Confirmation, Decision, GateResult
from trt.params import CompileParams
from trt.records import Compilation

DATA_CHECKS = paths.DATA_DOCS / "summary.json"


class Settings(SelectSettings):
    """The parameters that decided what is reported; the page lists them all."""

    seed: Seed
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    calibrate: CalibrateParams
    compile: CompileParams
    evaluate: EvaluateParams
    benchmark: BenchmarkParams


@dataclass(frozen=True)
class Variant:
    """One variant and what is known of it; None where a stage left nothing."""

    name: str
    recipe: Recipe
    manifest: Manifest | None
    manifest_sha256: str | None
    evaluation: Evaluation | None
    benchmark: Benchmark | None
    gates: list[GateResult]

    @property
    def verdict(self) -> Verdict:
        """That of all its gates together."""
        return combined(gate.verdict for gate in self.gates)

    def gate(self, name: str) -> GateResult | None:
        """What the gate `name` found; None where it had nothing to judge."""
        return next((gate for gate in self.gates if gate.gate == name), None)

    @property
    def failed(self) -> str | None:
        """Why its recipe failed, in quantize or while it was measured."""
        records = [self.evaluation, self.benchmark]
        return next((record.why_not_measured for record in records if record and record.status == "failed"), None)

    @property
    def unmeasured(self) -> str | None:
        """Why nothing of it was measured, when no record is missing and none holds a measurement."""
        records = [self.evaluation, self.benchmark]
        if any(record is None or record.status == "measured" for record in records):
            return None
        return next((record.why_not_measured for record in records if record and record.why_not_measured), None)

    def workload(self, batch: int) -> Workload | None:
        """Speed at one batch size, or None where it was not measured."""
        return self.benchmark.workload(batch) if self.benchmark else None


@dataclass(frozen=True)
class Material:
    settings: Settings
    decision: Decision
    variants: list[Variant]
    provenance: Provenance
    data_docs: Path | None  # index.html of Great Expectations' site, from the project's root
    data_checks: DataChecks | None  # the same in short
    confirmation: Confirmation  # of the winner, on items that no gate has seen
    compilations: list[Compilation]  # TensorRT engines, of the recipes that want them

    @property
    def chosen(self) -> Variant | None:
        """The variant that the decision names."""
        return next((variant for variant in self.variants if variant.name == self.decision.variant), None)

    @property
    def shown(self) -> list[Variant]:
        """The columns of the tables: all of which something was measured, or a record is missing."""
        return [one for one in self.variants if one.unmeasured is None]

    @property
    def failed(self) -> dict[str, str]:
        """The variants whose recipe failed, and why."""
        return {one.name: one.failed for one in self.variants if one.failed}

    @property
    def elsewhere(self) -> dict[str, list[str]]:
        """Why nothing was measured on this machine, and the variants that this is true of."""
        found: dict[str, list[str]] = {}
        for one in self.variants:
            if one.unmeasured is not None and not one.failed:
                found.setdefault(one.unmeasured, []).append(one.name)
        return found

    @property
    def measured(self) -> list[str]:
        """The variants whose accuracy was measured, on whatever machine could."""
        return [one.name for one in self.variants if one.evaluation and one.evaluation.status == "measured"]

    @property
    def batches(self) -> list[int]:
        """Every batch size that was measured for any variant, ascending."""
        return sorted({load.batch for one in self.variants if one.benchmark for load in one.benchmark.workloads})


def gather(settings: Settings) -> Material:
    """Read decision, records and manifests from their usual places; missing records stay None, a bad one raises."""
    decision = Decision.read(paths.DECISION)
    compilations = [Compilation.read_if_exists(paths.ENGINES / name / "compile.json") for name in settings.recipes]
    index = next(iter(sorted(paths.DATA_DOCS.glob("**/index.html"), key=lambda path: len(path.parts))), None)
    return Material(
        settings=settings,
        decision=decision,
        variants=[_variant(name, recipe, decision) for name, recipe in settings.recipes.items()],
        provenance=provenance.read(),
        data_docs=index,
        data_checks=DataChecks.read_if_exists(DATA_CHECKS),
        confirmation=Confirmation.read(paths.CONFIRMATION),
        compilations=[one for one in compilations if one is not None and (one.engines or one.failed)],
    )


def _variant(name: str, recipe: Recipe, decision: Decision) -> Variant:
    folder = paths.VARIANTS / name
    try:
        made, digest = manifest.read(folder), manifest.digest(folder)
    except IntegrityError:  # the integrity gate has said so; the page shows the gate
        made, digest = None, None
    return Variant(
        name=name,
        recipe=recipe,
        manifest=made,
        manifest_sha256=digest,
        evaluation=Evaluation.read_if_exists(paths.EVALUATION / f"{name}.json"),
        benchmark=Benchmark.read_if_exists(paths.BENCHMARK / f"{name}.json"),
        gates=[gate for gate in decision.gates if gate.variant == name],
    )
