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
from evaluation.records import Evaluation
from models import manifest
from selection.gates import Evidence
from selection.params import SelectSettings as Settings
from selection.ranking import decide


def main() -> None:
    settings = params.load(Settings)
    decision = decide([_evidence(settings, name) for name in settings.recipes], settings.select)
    decision.save(paths.DECISION)
    say(decision.sentence)


def _evidence(settings: Settings, name: str) -> Evidence:
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


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
