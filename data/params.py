"""What params.yaml says of the data."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from core import plugins
from core.params import Section


class SuiteParams(Section):
    """One source of items. `kind` is a file in data/suites/; `options` is checked by that file's own model."""

    kind: Annotated[str, plugins.name_of("data.suites")]
    weight: float = Field(default=1.0, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class DataParams(Section):
    train_items: int = Field(ge=10)
    calibration_share: float = Field(default=0.10, gt=0, lt=1, description="of the training items")
    evaluation_items: int = Field(ge=50, description="item budget of the sequential test; a confirmation has as many")
    benchmark_items: int = Field(ge=1)
    suites: dict[str, SuiteParams] = Field(min_length=1)

    @property
    def calibration_items(self) -> int:
        """Carved out of the training items."""
        return max(1, round(self.calibration_share * self.train_items))

    @model_validator(mode="after")
    def _some_are_left_to_train(self) -> Self:
        if self.calibration_items >= self.train_items:
            raise ValueError(
                f"calibration_share {self.calibration_share:g} leaves none of the {self.train_items} train_items"
            )
        return self
