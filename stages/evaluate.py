"""Measure one variant's drift against the original model, on the runtime that will serve it.

    python -m stages.evaluate int8-weight
    python -m stages.evaluate int8-weight --against artifacts/variants/fp32     # another version is the reference

Same items, prompts and decoding for both, chunk by chunk, until every verdict is reached or the items are spent.
Reads the evaluation split, the original model and the variant's folder; writes artifacts/evaluation/<recipe>.json and
.parquet (every answer), or with --against artifacts/against/<manifest>/. Killed, it resumes and repeats at most one
chunk. A recipe that failed, now or in quantize, gets a record with the reason; with --strict or --against a fault of
its runtime ends the run.
"""

from __future__ import annotations

from pathlib import Path

import runtimes
from core import cli, params, paths
from core.errors import VERSION_FAULTS, ResourceError, one_line
from core.params import Seed
from core.progress import say
from data import items
from drift.metrics import Pair
from evaluation import pairs, run, systems
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.plan import make as make_plan
from host.params import MachineParams
from models import manifest
from models.params import Recipes

AGAINST = paths.ARTIFACTS / "against"


class Settings(Recipes):
    seed: Seed
    machine: MachineParams
    generation: GenerationParams
    evaluate: EvaluateParams


def main() -> None:
    parser = cli.recipe_parser(__doc__)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="a version's folder to compare with")
    asked = parser.parse_args()
    name, against = asked.recipe, asked.against
    settings = params.load(Settings)
    folder, threads = paths.VARIANTS / name, settings.machine.threads
    runtime, failure = settings.recipe(name).runtime, None if against else manifest.failure(folder)
    runtimes.check_batch(runtime, settings.evaluate.batch, "evaluate.batch")
    if failure is None:
        runtimes.switch_interpreter_for(runtime)
    rows, texts = items.load(paths.DATA, "evaluation"), items.load(paths.DATA, "text")
    budget = len(items.clusters([row.item for row in rows]))
    if failure is None:
        systems.verified(folder, runtime)
    if against and (why_not := runtimes.why_not_here(manifest.verify(against).runtime)):
        raise ResourceError(f"{against} cannot answer on this machine: {why_not}")
    reference = systems.version(against, threads, "against") if against else systems.original(paths.MODEL, threads)
    plan = make_plan(
        name,
        settings.recipe(name),
        settings.evaluate,
        settings.generation,
        settings.seed,
        paths.MODEL,
        reference.sha256,
        "evaluate",
    )
    output = AGAINST / reference.sha256[:16] if against else paths.EVALUATION

    done: list[Pair] = []
    if failure:
        found = run.unmeasured(plan, reference, manifest.NO_VERSION, runtime, budget, "failed", failure.reason)
    elif why := runtimes.why_not_here(runtime):
        found = run.unmeasured(plan, reference, manifest.digest(folder), runtime, budget, "not_measured_here", why)
    else:
        try:
            found, done = run.judge(plan, reference, folder, rows, texts, threads)
        except VERSION_FAULTS as error:
            if asked.strict or against:
                raise
            why = f"evaluate failed: {one_line(error)}"
            found = run.unmeasured(plan, reference, manifest.digest(folder), runtime, budget, "failed", why)
    reference.close()
    pairs.save(output / f"{name}.parquet", done)
    found.save(output / f"{name}.json")
    say(f"evaluate: {name}: {found.verdict}: {found.reason}")


if __name__ == "__main__":
    cli.run(main)
