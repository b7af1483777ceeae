"""What params.yaml says of GitLab's jobs; ci/recipes.yml is made from it."""

from __future__ import annotations

from pydantic import Field

from core.params import Section
from models.params import Recipes


class CiParams(Section):
    runners: dict[str, str] = Field(
        default_factory=dict, description="tag of the runner that a recipe needs, by its runtime; others run on `cpu`"
    )


class CiSettings(Recipes):
    ci: CiParams = CiParams()

    def runner(self, recipe_name: str) -> str:
        """The tag of the GitLab runner that makes and measures a recipe."""
        return self.ci.runners.get(self.recipe(recipe_name).runtime, "cpu")
