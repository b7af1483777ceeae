"""What params.yaml says of the evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from core import plugins
from core.params import Section
from models.params import Recipe


class GenerationParams(Section):
    """Of `decoding` and what follows, evaluation/decoding.py makes one answer for a model."""

    max_tokens: int = Field(ge=1, description="new tokens for each answer; the prompt is not counted")
    decoding: Literal["model", "greedy", "sampled"] = Field(
        default="model", description="model: sampled if its generation_config.json has do_sample true, else greedy"
    )
    temperature: float | None = Field(default=None, gt=0, description="of sampled answers; null: the model's, else 1")
    top_p: float | None = Field(default=None, gt=0, le=1, description="null: the model's, else 1 (off)")
    top_k: int | None = Field(default=None, ge=0, description="null: the model's, else 0 (off)")
    samples: int | None = Field(default=None, ge=1, description="sampled answers to an item on each side; null: 4")

    @property
    def only_sampled(self) -> list[str]:
        """Those settings that were given and have an effect on sampled answers only."""
        names = ("temperature", "top_p", "top_k", "samples")
        return [name for name in names if getattr(self, name) is not None]


class EvaluateParams(Section):
    chunk_items: int = Field(ge=1, description="items between two looks; also the unit of resuming")
    batch: int = Field(ge=1, description="sequences that a runtime is given at once; some take no more than so many")
    alpha: float = Field(gt=0, lt=0.5, description="error rate of a wrong pass, and of a wrong fail")
    margin_points: float = Field(gt=0, description="largest accepted loss of accuracy, in percentage points")
    teacher_forced_items: int = Field(ge=1)
    metrics: dict[Annotated[str, plugins.name_of("drift.metrics")], dict[str, Any]] = Field(
        description="files in drift/metrics/ with their options, which the file itself checks; in the report's order"
    )

    def margin_of(self, recipe: Recipe) -> float:
        """The margin that holds for a recipe, in percentage points."""
        return recipe.margin_points or self.margin_points
