"""Measure one variant's drift against the original model, on the runtime that will serve it.

    python -m stages.evaluate int8-weight
    python -m stages.evaluate int8-weight --against artifacts/variants/fp32     # another version is the reference

Same items, prompts and decoding for both, chunk by chunk, until a verdict is reached or the items are spent. Reads
the evaluation split, the original model and the variant's folder; writes artifacts/evaluation/<recipe>.json and
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
from data.items import Prepared
from drift import metrics
from drift.metrics import Pair
from evaluation import pairs, run, systems
from evaluation.decoding import decoding_of
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.records import Evaluation
from evaluation.run import EvaluationPlan
from evaluation.systems import System
from host.params import MachineParams
from models import manifest, tokenizer
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
    rows = items.load(paths.DATA, "evaluation")
    plan = EvaluationPlan(
        name=name,
        margin_points=settings.evaluate.margin_of(settings.recipe(name)),
        evaluate=settings.evaluate,
        metrics=metrics.choose(settings.evaluate.metrics),
        max_tokens=settings.generation.max_tokens,
        seed=settings.seed,
        budget=len(rows),
        sampled=decoding_of(settings.generation, paths.MODEL),
    )
    if failure is None:
        systems.verified(folder, runtime)
    if against and (why_not := runtimes.why_not_here(manifest.verify(against).runtime)):
        raise ResourceError(f"{against} cannot answer on this machine: {why_not}")
    reference = systems.version(against, threads, "against") if against else systems.original(paths.MODEL, threads)
    output = AGAINST / reference.sha256[:16] if against else paths.EVALUATION

    done: list[Pair] = []
    if failure:
        found = run.unmeasured(plan, reference, manifest.NO_VERSION, runtime, "failed", failure.reason)
    elif why := runtimes.why_not_here(runtime):
        found = run.unmeasured(plan, reference, manifest.digest(folder), runtime, "not_measured_here", why)
    else:
        try:
            found, done = _compare(plan, reference, folder, rows, threads)
        except VERSION_FAULTS as error:
            if asked.strict or against:
                raise
            why = f"evaluate failed: {one_line(error)}"
            found = run.unmeasured(plan, reference, manifest.digest(folder), runtime, "failed", why)
    reference.close()
    pairs.save(output / f"{name}.parquet", done)
    found.save(output / f"{name}.json")
    say(f"evaluate: {name}: {found.verdict}: {found.reason}")


def _compare(
    plan: EvaluationPlan, reference: System, folder: Path, rows: list[Prepared], threads: int
) -> tuple[Evaluation, list[Pair]]:
    variant = systems.version(folder, threads, plan.name)
    words = tokenizer.load(paths.MODEL)
    compared = run.compare(plan, reference, variant, rows, words.answer, words.rows, paths.CACHE)
    variant.close()
    return compared


if __name__ == "__main__":
    cli.run(main)
