"""Choose the variant to serve: gates and objective from params over the records of evaluate and benchmark.

    python -m stages.select

Writes artifacts/decision.json and exits 0 even when no variant passed, so that `report` can still show why;
`register` then refuses with exit code 3.
"""

from __future__ import annotations

import argparse

from benchmarks.records import Benchmark
from core import cli, params, paths
from core.errors import IntegrityError
from core.progress import say
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation
from models import manifest
from models.params import Recipes
from selection.gates import Evidence
from selection.params import SelectParams
from selection.ranking import decide


class Settings(Recipes):
    evaluate: EvaluateParams
    select: SelectParams


def main() -> None:
    settings = params.load(Settings)
    decision = decide([_evidence(settings, name) for name in settings.recipes], settings.select)
    decision.save(paths.DECISION)
    say(decision.sentence)


def _evidence(settings: Settings, name: str) -> Evidence:
    runtime, digest, problem = settings.recipe(name).runtime, None, None
    try:
        runtime = manifest.verify(paths.VARIANTS / name).runtime
        digest = manifest.digest(paths.VARIANTS / name)
    except IntegrityError as error:  # a gate's finding, not the end of the run: the other variants may be sound
        problem = str(error)
    evaluation, benchmark = paths.EVALUATION / f"{name}.json", paths.BENCHMARK / f"{name}.json"
    return Evidence(
        variant=name,
        runtime=runtime,
        manifest_sha256=digest,
        problem=problem,
        evaluation=Evaluation.read(evaluation) if evaluation.exists() else None,
        benchmark=Benchmark.read(benchmark) if benchmark.exists() else None,
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
