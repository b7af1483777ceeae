"""What params.yaml says of the recipes: how each optimises, and where GitLab makes and measures it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from core import plugins
from core.params.section import Section


class Recipe(Section):
    """How to optimise. `quantizer` and `runtime` are file names; `options` is checked by the quantizer."""

    quantizer: str
    runtime: str = "ort"
    margin_points: float | None = Field(default=None, gt=0, description="overrides evaluate.margin_points")
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("quantizer", "runtime")
    @classmethod
    def _plugin_exists(cls, name: str, field: ValidationInfo) -> str:
        known = plugins.known(f"models.{field.field_name}s")
        if name not in known:
            raise ValueError(f"no {field.field_name} '{name}'; known: {', '.join(known)}")
        return name


class CiParams(Section):
    """What GitLab's jobs need to know of the recipes; ci/recipes.yml is made from it."""

    runners: dict[str, str] = Field(
        default_factory=dict, description="tag of the runner that a recipe needs, by its runtime; others run on `cpu`"
    )
