"""What params.yaml says of the evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from core import plugins
from core.params import Section
from models.params import Recipe


class GenerationParams(Section):
    max_tokens: int = Field(ge=1, description="new tokens for each answer; the prompt is not counted")


class EvaluateParams(Section):
    chunk_items: int = Field(ge=1, description="items between two looks; also the unit of resuming")
    batch: int = Field(ge=1, description="sequences that a runtime is given at once; some take no more than so many")
    alpha: float = Field(gt=0, lt=0.5, description="error rate of a wrong pass, and of a wrong fail")
    margin_points: float = Field(gt=0, description="largest accepted loss of accuracy, in percentage points")
    many_recipes: Literal["confirm", "share_alpha"] = Field(
        default="confirm",
        description="the winner is confirmed on items that no gate has seen, or the recipes share alpha",
    )
    teacher_forced_items: int = Field(ge=1)
    metrics: dict[Annotated[str, plugins.name_of("drift.metrics")], dict[str, Any]] = Field(
        description="files in drift/metrics/ with their options, which the file itself checks; in the report's order"
    )

    def margin_of(self, recipe: Recipe) -> float:
        """The margin that holds for a recipe, in percentage points."""
        return recipe.margin_points or self.margin_points
