"""What params.yaml says of the evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

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


class ValidityParams(Section):
    """What the original must show before a comparison with it says anything."""

    min_accuracy: float = Field(default=0.20, ge=0, lt=1, description="below it a loss cannot be seen")
    max_accuracy: float = Field(default=0.99, gt=0, le=1, description="above it the questions are too easy to tell")
    max_truncated: float = Field(default=0.10, ge=0, le=1, description="share of answers cut off, on either side")


class EvaluateParams(Section):
    chunk_items: int = Field(ge=1, description="items between two looks; also the unit of resuming")
    batch: int = Field(ge=1, description="sequences that a runtime is given at once; some take no more than so many")
    alpha: float = Field(gt=0, lt=0.5, description="error rate of a wrong pass, and of a wrong fail")
    margin_points: float = Field(gt=0, description="largest accepted loss of accuracy, in percentage points")
    validity: ValidityParams = ValidityParams()
    target: Literal["population", "benchmark"] = Field(
        default="population",
        description="what the verdict is about: items like these, or the benchmark itself, which is finite",
    )
    many_recipes: Literal["confirm", "share_alpha"] = Field(
        default="confirm",
        description="the winner is confirmed on items that no gate has seen, or the recipes share alpha",
    )
    alpha_shares: int = Field(default=1, ge=1, description="recipes among which share_alpha divides alpha")
    teacher_forced_items: int = Field(ge=1)
    metrics: dict[Annotated[str, plugins.name_of("drift.metrics")], dict[str, Any]] = Field(
        description="files in drift/metrics/ with their options, which the file itself checks; in the report's order"
    )

    @model_validator(mode="after")
    def _alpha_is_shared_or_not(self) -> Self:
        if self.many_recipes == "confirm" and self.alpha_shares != 1:
            raise ValueError("alpha_shares is for many_recipes: share_alpha; with confirm each has all of alpha")
        return self

    @property
    def own_alpha(self) -> float:
        """Error rate of one recipe's test."""
        return self.alpha / self.alpha_shares

    def margin_of(self, recipe: Recipe) -> float:
        """The margin that holds for a recipe, in percentage points."""
        return recipe.margin_points or self.margin_points
