"""What params.yaml says of gates and objective."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from core.params import Section
from models.params import Recipes


class SloParams(Section):
    ttft_p95_ms: float = Field(gt=0)
    itl_p95_ms: float = Field(gt=0)


class SelectParams(Section):
    objective: Literal["throughput", "latency", "size"]
    compare_with: str | None = Field(default=None, description="recipe whose speed and size the others' are held to")
    max_size_ratio: float | None = Field(default=None, gt=0, description="artifact size over compare_with's")
    slo: SloParams

    @model_validator(mode="after")
    def _a_ratio_is_of_something(self) -> Self:
        if self.max_size_ratio is not None and self.compare_with is None:
            raise ValueError("max_size_ratio needs compare_with: the recipe whose size is 100 %")
        return self


class SelectSettings(Recipes):
    """What reads `select` derives from this: the recipe that it compares with must be one."""

    select: SelectParams

    @model_validator(mode="after")
    def _compared_recipe_exists(self) -> Self:
        name = self.select.compare_with
        if name is not None and name not in self.recipes:
            raise ValueError(f"select.compare_with: no recipe '{name}'; known: {', '.join(self.recipes)}")
        return self
