"""The quantizer contract. Each file here is one way to make a variant; its file name is its name in params.

A quantizer module has
- `TRAITS: Traits`: what it needs and what it costs, so that nobody else has to know its name;
- `class Options(BaseModel)`: the recipe's `options`, checked before any work;
- `quantize(context, options, folder) -> dict[str, object]`: writes the variant's files into the empty `folder`
  and returns facts for the manifest (what was done, never a time or a path).

What several quantizers share is in `parts/`; `parts/version.py` makes a version of what a quantizer wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from core import plugins
from core.errors import DataError
from models import manifest
from models.params import Recipe

Input = Literal["weights", "fused graph", "standard graph", "statistics", "items"]


@dataclass(frozen=True)
class Traits:
    """What a quantizer says of itself. Costs that it does not state are taken as those of the most demanding one."""

    inputs: tuple[Input, ...]  # what it reads of that which earlier stages left
    compiled: bool = False  # whether the variant is a graph of which `compile` makes TensorRT engines
    peak_of_fp32_weights: float = 5.0  # memory at its peak, as a multiple of the weights in fp32
    bytes_per_parameter: float = 4.0  # on disk, with scales and the parts that stay wide
    libraries: tuple[str, ...] = manifest.LIBRARIES  # distributions whose versions shape the files


@dataclass(frozen=True)
class Context:
    """What earlier stages left: the original model, the exported graphs, the calibration, the number of threads."""

    model_folder: Path
    export_folder: Path
    calibration_folder: Path
    data_folder: Path
    threads: int
    seed: int

    def require(self, inputs: Iterable[Input]) -> None:
        """Raise DataError naming the first of `inputs` that is not there, before any work."""
        found: dict[Input, Path] = {
            "weights": self.model_folder,
            "fused graph": self.export_folder / "fused",
            "standard graph": self.export_folder / "standard",
            "statistics": self.calibration_folder,
            "items": self.data_folder / "calibration.parquet",
        }
        for name, path in found.items():
            if name in inputs and not path.exists():
                raise DataError(f"{path} not found: this quantizer reads the {name}; run `dvc repro` to make it")


def traits(recipe: Recipe) -> Traits:
    """What the recipe's quantizer says of itself."""
    found: Traits = plugins.load("quantizers", recipe.quantizer).TRAITS
    return found


def options(name: str, recipe: Recipe) -> BaseModel:
    """The options of recipe `name`, as its quantizer's `Options`; ConfigError naming each key that is wrong."""
    quantizer = plugins.load("quantizers", recipe.quantizer)
    checked: BaseModel = plugins.options(quantizer, recipe.options, f"params.yaml: recipes.{name}.options")
    return checked
