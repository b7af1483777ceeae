"""What params.yaml says of gates and objective."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.params import Section


class SloParams(Section):
    ttft_p95_ms: float = Field(gt=0)
    itl_p95_ms: float = Field(gt=0)


class SelectParams(Section):
    objective: Literal["throughput", "latency", "size"]
    max_size_ratio: float | None = Field(default=None, gt=0, description="artifact size over fp32's")
    slo: SloParams
