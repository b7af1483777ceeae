"""What params.yaml says of the data."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.params import Section


class SuiteParams(Section):
    """One source of items. `kind` is a file in data/suites/; `options` is checked by that file's own model."""

    kind: str
    weight: float = Field(default=1.0, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class DataParams(Section):
    train_items: int = Field(ge=10)
    calibration_share: float = Field(default=0.10, gt=0, lt=1, description="of the training items")
    evaluation_items: int = Field(ge=50, description="item budget of the sequential test")
    benchmark_items: int = Field(ge=1)
    suites: dict[str, SuiteParams]
