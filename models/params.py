"""What params.yaml says of the model and of the recipes that are applied to it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from core import plugins
from core.errors import ConfigError
from core.params import Section

REGISTRY_NAME_CHARACTERS = 256  # of the column in MLflow's database


class ModelParams(Section):
    source: str = Field(min_length=1, description="local folder, hub id, s3://bucket/prefix or models:/name@alias")
    revision: str | None = Field(
        default=None, pattern="^[0-9a-f]{40}$", description="full commit hash; required for a hub id"
    )
    name: str = Field(default="assay", max_length=REGISTRY_NAME_CHARACTERS, description="name in the MLflow registry")

    @field_validator("name")
    @classmethod
    def _registry_takes_it(cls, name: str) -> str:
        """MLflow's own rule when a version is registered, and what an address models:/name@alias can hold."""
        if not re.fullmatch(r"(?!\.\.|\.$)(?=.*\S)[^/:?#@]+", name) or not name.isprintable():
            raise ValueError(f"{name!r} is no name for MLflow: no / : ? # @, not blank, not '.', and no '..' first")
        return name


class Recipe(Section):
    """How to optimise. `quantizer` and `runtime` are file names; `options` is checked by the quantizer."""

    quantizer: Annotated[str, plugins.name_of("quantizers")]
    runtime: Annotated[str, plugins.name_of("runtimes")]
    margin_points: float | None = Field(default=None, gt=0, description="overrides evaluate.margin_points")
    limits: dict[str, dict[str, float] | None] = Field(
        default_factory=dict,
        description="by metric, over evaluate.metrics' and those that ship, say {perplexity_ratio: {at_most: 1.1}}; "
        "null: no gate",
    )
    options: dict[str, Any] = Field(default_factory=dict)


class Recipes(Section):
    """The recipes by name. What reads them derives from this."""

    recipes: dict[str, Recipe]

    @field_validator("recipes", mode="before")
    @classmethod
    def _options_are_written(cls, recipes: Any) -> Any:
        """What makes a version (quantizer, runtime, options) is to DVC apart from its gates: each key must exist."""
        for name, recipe in recipes.items() if isinstance(recipes, dict) else ():
            if isinstance(recipe, dict) and "options" not in recipe:
                raise ValueError(f"{name}: no options; where the quantizer needs none, write `options: {{}}`")
        return recipes

    @field_validator("recipes")
    @classmethod
    def _names_are_path_safe(cls, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        if not recipes:
            raise ValueError("at least one recipe is needed")
        for name in recipes:
            if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9-]{0,63}", name):
                raise ValueError(
                    f"recipe name '{name}': up to 64 letters, digits and hyphens, a hyphen not first (it names files "
                    "and is an argument; DVC reads a dot as a path)"
                )
        return recipes

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`; raises ConfigError naming the known ones."""
        if name not in self.recipes:
            raise ConfigError(f"params.yaml has no recipe '{name}'; known: {', '.join(self.recipes)}")
        return self.recipes[name]
