"""Confirm the winner on items that no gate has seen: of many recipes at the margin, one is soon lucky.

    python -m stages.confirm

Ranks what evaluate and benchmark found, as `select` does, and compares the first with the original again, on the
split `confirmation`. Writes artifacts/confirmation.json and .parquet: without a comparison where none is due (nothing
passed, one recipe was judged, or `evaluate.many_recipes` is share_alpha), and it says why.
"""

from __future__ import annotations

import argparse

import runtimes
from core import cli, params, paths
from core.errors import VERSION_FAULTS, one_line
from core.params import Seed
from core.progress import say
from data import items
from drift.metrics import Pair
from evaluation import pairs, run, systems
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.plan import make as make_plan
from evaluation.records import Evaluation
from host.params import MachineParams
from models import manifest
from selection import evidence, ranking
from selection.params import SelectSettings


class Settings(SelectSettings):
    seed: Seed
    machine: MachineParams
    generation: GenerationParams
    evaluate: EvaluateParams


def main() -> None:
    settings = params.load(Settings)
    found = evidence.gather(settings)
    confirmation = ranking.to_confirm(found, settings.select, settings.evaluate)
    done: list[Pair] = []
    if name := confirmation.variant:
        runtimes.switch_interpreter_for(settings.recipe(name).runtime)
        evaluation, done = _compare(settings, name)
        confirmation = confirmation.model_copy(
            update={"evaluation": evaluation, "why": f"{evaluation.verdict}: {evaluation.reason}"}
        )
    pairs.save(paths.CONFIRMATION.with_suffix(".parquet"), done)
    confirmation.save(paths.CONFIRMATION)
    say(f"confirm: {confirmation.variant or 'nothing'}: {confirmation.why}")


def _compare(settings: Settings, name: str) -> tuple[Evaluation, list[Pair]]:
    folder, recipe, threads = paths.VARIANTS / name, settings.recipe(name), settings.machine.threads
    rows = items.load(paths.DATA, "confirmation")
    systems.verified(folder, recipe.runtime)
    digest = manifest.digest(folder)
    reference = systems.original(paths.MODEL, threads)
    plan = make_plan(
        name,
        recipe,
        settings.evaluate,
        settings.generation,
        settings.seed,
        paths.MODEL,
        reference.sha256,
        "confirm",
    )
    budget = len(items.clusters([row.item for row in rows]))
    if why := runtimes.why_not_here(recipe.runtime):
        return run.unmeasured(plan, reference, digest, recipe.runtime, budget, "not_measured_here", why), []
    try:
        return run.judge(plan, reference, folder, rows, [], threads)
    except VERSION_FAULTS as error:
        why = f"confirm failed: {one_line(error)}"
        return run.unmeasured(plan, reference, digest, recipe.runtime, budget, "failed", why), []
    finally:
        reference.close()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
