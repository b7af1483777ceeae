"""Measure one variant's drift against the original model, on the runtime that will serve it.

    python -m stages.evaluate int8-weight
    python -m stages.evaluate int8-weight --against artifacts/variants/fp32     # another version is the reference

Same items, prompts and greedy decoding for both, chunk by chunk, until a verdict is reached or the items are spent.
Reads the evaluation split, the original model and the variant's folder; writes artifacts/evaluation/<recipe>.json and
.parquet (every answer), or with --against artifacts/against/<manifest>/. Killed, it resumes and repeats at most one
chunk.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import runtimes
from core import cli, params, paths
from core.errors import ResourceError
from core.params import Seed
from core.progress import say
from data import items
from drift import metrics
from evaluation import pairs, run, systems
from evaluation.pairs import Decode
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.run import EvaluationPlan
from host.params import MachineParams
from models import families, manifest, tokenizer
from models.params import Recipes

AGAINST = paths.ARTIFACTS / "against"


class Settings(Recipes):
    seed: Seed
    machine: MachineParams
    generation: GenerationParams
    evaluate: EvaluateParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="a version's folder to compare with")
    asked = parser.parse_args()
    name, against = asked.recipe, asked.against
    settings = params.load(Settings)
    runtimes.check_batch(settings.recipe(name).runtime, settings.evaluate.batch, "evaluate.batch")
    runtimes.switch_interpreter_for(settings.recipe(name).runtime)
    folder, threads = paths.VARIANTS / name, settings.machine.threads
    rows = items.load(paths.DATA, "evaluation")
    plan = EvaluationPlan(
        name=name,
        margin_points=settings.evaluate.margin_of(settings.recipe(name)),
        evaluate=settings.evaluate,
        metrics=metrics.choose(settings.evaluate.metrics),
        max_tokens=settings.generation.max_tokens,
        seed=settings.seed,
        budget=len(rows),
    )
    made = systems.verified(folder, settings.recipe(name).runtime)
    if against and (why_not := runtimes.why_not_here(manifest.verify(against).runtime)):
        raise ResourceError(f"{against} cannot answer on this machine: {why_not}")
    reference = systems.version(against, threads, "against") if against else systems.original(paths.MODEL, threads)
    output = AGAINST / reference.sha256[:16] if against else paths.EVALUATION

    why = runtimes.why_not_here(made.runtime)
    if why is None:
        variant = systems.version(folder, threads, name)
        width = families.read(paths.MODEL).vocabulary
        found, done = run.compare(plan, reference, variant, rows, _decoder(paths.MODEL), width, paths.CACHE)
        variant.close()
    else:
        found, done = run.not_measured(plan, reference, manifest.digest(folder), made.runtime, why), []
    reference.close()
    pairs.save(output / f"{name}.parquet", done)
    found.save(output / f"{name}.json")
    say(f"evaluate: {name}: {found.verdict}: {found.reason}")


def _decoder(model_folder: Path) -> Decode:
    """Token ids to text by the original's tokenizer, special tokens such as `</think>` kept."""
    words = tokenizer.load(model_folder)

    def decode(token_ids: Sequence[int]) -> str:
        return str(words.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return decode


if __name__ == "__main__":
    cli.run(main)
