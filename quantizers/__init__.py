"""The quantizer contract. Each file here is one way to make a variant; its file name is its name in params.

A quantizer module has
- `class Options(BaseModel)`: the recipe's `options`, checked before any work;
- `quantize(context, options, folder) -> dict[str, object]`: writes the variant's files into the empty `folder`
  and returns facts for the manifest (what was done, never a time or a path).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from core import plugins
from core.errors import ConfigError, wrong_fields
from models.params import Recipe


@dataclass(frozen=True)
class Context:
    """What earlier stages left: the original model, the exported graphs, the calibration, the number of threads."""

    model_folder: Path
    export_folder: Path
    calibration_folder: Path
    data_folder: Path
    threads: int
    seed: int


def options(name: str, recipe: Recipe) -> BaseModel:
    """The options of recipe `name`, as its quantizer's `Options`; ConfigError naming each key that is wrong."""
    quantizer = plugins.load("quantizers", recipe.quantizer)
    try:
        checked: BaseModel = quantizer.Options.model_validate(recipe.options)
    except ValidationError as error:
        raise ConfigError(f"params.yaml: recipes.{name}.options: {wrong_fields(error)}") from error
    return checked
