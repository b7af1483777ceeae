"""What params.yaml says of the model and of the recipes that are applied to it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from core import plugins
from core.errors import ConfigError
from core.params import Section


class ModelParams(Section):
    source: str = Field(description="local folder, hub id, s3://bucket/prefix or models:/name@alias")
    revision: str | None = Field(default=None, description="full commit hash; required for a hub id")
    name: str = Field(default="assay", description="name in the MLflow registry")


class Recipe(Section):
    """How to optimise. `quantizer` and `runtime` are file names; `options` is checked by the quantizer."""

    quantizer: str
    runtime: str
    margin_points: float | None = Field(default=None, gt=0, description="overrides evaluate.margin_points")
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("quantizer", "runtime")
    @classmethod
    def _plugin_exists(cls, name: str, field: ValidationInfo) -> str:
        try:
            plugins.module_name(f"{field.field_name}s", name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return name


class Recipes(Section):
    """The recipes by name. What reads them derives from this."""

    recipes: dict[str, Recipe]

    @field_validator("recipes")
    @classmethod
    def _names_are_path_safe(cls, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        if not recipes:
            raise ValueError("at least one recipe is needed")
        for name in recipes:
            if not name.replace("-", "").isalnum():
                raise ValueError(
                    f"recipe name '{name}': letters, digits and hyphens only (DVC reads a dot as a path)"
                )
        return recipes

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`; raises ConfigError naming the known ones."""
        if name not in self.recipes:
            raise ConfigError(f"params.yaml has no recipe '{name}'; known: {', '.join(self.recipes)}")
        return self.recipes[name]
