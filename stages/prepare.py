"""Fetch the model, draw and split the items, tokenize them once, and hold them against their expectations.

    python -m stages.prepare

Writes core.paths.MODEL, DATA (each of data.items.SPLITS as parquet) and DATA_DOCS. Ends with an error where the
model or a suite's files are no longer what core.paths.INPUTS says.
"""

from __future__ import annotations

import argparse
import time

from core import cli, params, paths
from core.errors import DataError
from core.params import Seed
from core.progress import say
from data import inputs, items, splits
from data.expectations import run, table
from data.params import DataParams
from evaluation.params import EvaluateParams, GenerationParams
from models import families, preflight, source, tokenizer
from models.params import ModelParams, Recipes


class Settings(Recipes):
    seed: Seed
    model: ModelParams
    data: DataParams
    generation: GenerationParams
    evaluate: EvaluateParams


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    begun = time.monotonic()
    settings, recorded = params.load(Settings), inputs.Inputs.read(paths.INPUTS)
    options = splits.options(settings.data)
    folder = source.resolve(
        settings.model,
        paths.MODEL,
        lambda architecture: preflight.check(architecture, settings.recipes, paths.ARTIFACTS.absolute().parent),
    )
    architecture = families.read(folder, settings.model.source)
    say(f"prepare: {settings.model.source}, {architecture.parameters:,} parameters")

    confirm = settings.evaluate.many_recipes == "confirm"
    dealt = splits.split(settings.data, options, settings.seed, confirm)
    words = tokenizer.load(folder)
    prepared = {name: items.tokenize(part, words) for name, part in dealt.items()}
    say(f"prepare: {', '.join(f'{name} {len(part):,}' for name, part in prepared.items())} items tokenized")

    checked = table.build(prepared, settings.generation.max_tokens)
    count = run.run(checked, settings.generation.max_tokens, architecture.max_position_embeddings, paths.DATA_DOCS)
    for name, part in prepared.items():
        items.save(paths.DATA, name, part)
    if moved := inputs.changed(recorded, inputs.look(settings.model, settings.data)):
        raise DataError(f"{', '.join(moved)} changed since the stage `inputs` looked: run `dvc repro` again")
    say(f"prepare: {count} expectations hold, data docs in {paths.DATA_DOCS}, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    cli.run(main)
