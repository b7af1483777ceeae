"""What params.yaml says of GitLab's jobs; ci/recipes.yml is made from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

import runtimes
from core.params import Section
from models.params import Recipes


class CiParams(Section):
    runners: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="tag of a recipe's runner, where its runtime does not decide it",
    )


class CiSettings(Recipes):
    ci: CiParams = CiParams()

    @field_validator("ci")
    @classmethod
    def _runners_are_of_recipes(cls, ci: CiParams, fields: ValidationInfo) -> CiParams:
        if unknown := ci.runners.keys() - fields.data.get("recipes", ci.runners).keys():
            raise ValueError(f"no recipe '{min(unknown)}' for ci.runners")
        return ci

    def runner(self, recipe_name: str) -> str:
        """The tag of the GitLab runner that makes and measures a recipe."""
        own = "gpu" if runtimes.traits(self.recipe(recipe_name).runtime).needs_gpu else "cpu"
        return self.ci.runners.get(recipe_name, own)
