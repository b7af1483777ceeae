"""What earlier stages wrote about every variant, as the gates take it."""

from __future__ import annotations

from benchmarks.records import Benchmark
from core import paths
from core.errors import IntegrityError
from evaluation.records import Evaluation
from models import manifest
from selection.gates import Evidence
from selection.params import SelectSettings


def gather(settings: SelectSettings) -> list[Evidence]:
    """The evidence of every recipe, in the order of params."""
    return [_evidence(settings, name) for name in settings.recipes]


def _evidence(settings: SelectSettings, name: str) -> Evidence:
    runtime, digest, problem = settings.recipe(name).runtime, None, None
    if failure := manifest.failure(paths.VARIANTS / name):
        return Evidence(name, runtime, None, failure.reason, evaluation=None, benchmark=None)
    try:
        runtime = manifest.verify(paths.VARIANTS / name).runtime
        digest = manifest.digest(paths.VARIANTS / name)
    except IntegrityError as error:  # a gate's finding, not the end of the run: the other variants may be sound
        problem = str(error)
    return Evidence(
        variant=name,
        runtime=runtime,
        manifest_sha256=digest,
        problem=problem,
        evaluation=Evaluation.read_if_exists(paths.EVALUATION / f"{name}.json"),
        benchmark=Benchmark.read_if_exists(paths.BENCHMARK / f"{name}.json"),
    )
