"""params.yaml as a whole. Loading checks everything that can be checked without touching a model."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError, field_validator

from core.errors import ConfigError, wrong_fields
from core.params.recipes import CiParams, Recipe
from core.params.rollout import RolloutParams
from core.params.section import Section
from core.params.stages import (
    BenchmarkParams,
    CalibrateParams,
    CompileParams,
    DataParams,
    EvaluateParams,
    GenerationParams,
    MachineParams,
    ModelParams,
    SelectParams,
)

PARAMS_FILE = Path("params.yaml")


class Params(Section):
    seed: int
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    calibrate: CalibrateParams
    compile: CompileParams = CompileParams()
    evaluate: EvaluateParams
    benchmark: BenchmarkParams
    select: SelectParams
    rollout: RolloutParams
    ci: CiParams = CiParams()
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

    def runner(self, recipe_name: str) -> str:
        """The tag of the GitLab runner that makes and measures a recipe."""
        return self.ci.runners.get(self.recipe(recipe_name).runtime, "cpu")

    def margin_points(self, recipe_name: str) -> float:
        """The drift margin that holds for a recipe, in percentage points."""
        return self.recipe(recipe_name).margin_points or self.evaluate.margin_points


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every problem is reported with its key, as one ConfigError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path} not found: run from the project's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {wrong_fields(error)}") from error
