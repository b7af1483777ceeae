"""Keep the verdicts that this GPU machine reached: `python -m benchmarks.gpu_drift bf16 fp8`.

Reads artifacts/evaluation/<recipe>.json, as `python -m stages.evaluate <recipe>` wrote it here, and replaces the
recipe's verdict in benchmarks/results/gpu/gpu-<card>-drift.json, from which the report takes it.
"""

from __future__ import annotations

import argparse

from benchmarks.gpu import card
from benchmarks.gpu.records import GpuDrift
from core import cli, paths
from core.errors import DataError, ResourceError
from core.progress import say
from evaluation.records import Evaluation
from host import description
from pipelines import params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="keys of `recipes` in params.yaml")
    asked = parser.parse_args()
    here = description.describe(params.load().machine.threads)
    if here.accelerator is None:
        raise ResourceError("no NVIDIA GPU on this machine: run this where `stages.evaluate` ran")
    result = card.result(here.accelerator, "-drift")
    now = [measured(Evaluation.read(paths.EVALUATION / f"{name}.json")) for name in asked.recipes]
    run = GpuDrift(
        commands=[f"python -m stages.evaluate {name}" for name in asked.recipes], machine=here, evaluations=now
    )
    merged(GpuDrift.read(result) if result.exists() else None, run).save(result)
    say(f"{result}: " + ", ".join(f"{one.variant} {one.verdict}" for one in now))


def measured(one: Evaluation) -> Evaluation:
    """The same; DataError where it was not measured, which is no verdict to keep."""
    if one.status != "measured":
        raise DataError(f"{one.variant} was not measured here ({one.why_not_measured}): there is no verdict to keep")
    return one


def merged(before: GpuDrift | None, now: GpuDrift) -> GpuDrift:
    """`now` over `before`: a recipe evaluated again replaces its older verdict."""
    if before is None:
        return now
    new = {one.variant for one in now.evaluations}
    return now.model_copy(
        update={
            "commands": list(dict.fromkeys([*before.commands, *now.commands])),
            "evaluations": [one for one in before.evaluations if one.variant not in new] + now.evaluations,
        }
    )


if __name__ == "__main__":
    cli.run(main)
