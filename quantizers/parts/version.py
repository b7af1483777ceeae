"""From a recipe to a version's folder: the quantizer's files, the original's tokenizer, the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import quantizers
from core import plugins
from data import items
from models import manifest, tokenizer_identity
from models.params import Recipe
from quantizers import Context


def make(name: str, recipe: Recipe, context: Context, folder: Path) -> None:
    """Make the variant that recipe `name` asks for in the empty `folder`, with its manifest."""
    checked = quantizers.options(name, recipe)
    context.require(quantizers.traits(recipe).inputs)
    facts = plugins.load("quantizers", recipe.quantizer).quantize(context, checked, folder)
    finish(name, recipe, context, folder, facts)


def finish(name: str, recipe: Recipe, context: Context, folder: Path, facts: Mapping[str, object]) -> None:
    """Make a version of what a quantizer wrote into `folder`.

    Whatever it wrote, the tokenizer is the original's: its files, and its ids of every prepared prompt, or
    QuantizationError.
    """
    tokenizer_identity.adopt(context.model_folder, folder)
    tokenizer_identity.hold(context.model_folder, folder, _prompts(context.data_folder))
    manifest.write(
        folder,
        variant=name,
        recipe=recipe,
        model_folder=context.model_folder,
        facts=facts,
        libraries=quantizers.traits(recipe).libraries,
    )


def _prompts(data_folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every prepared prompt with its ids, of the splits that there are."""
    for split in items.SPLITS:
        if (data_folder / f"{split}.parquet").exists():
            yield from ((row.prompt, row.prompt_ids) for row in items.load(data_folder, split) if row.prompt)
