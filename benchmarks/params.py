"""What params.yaml says of the benchmark."""

from __future__ import annotations

from pydantic import Field

from core.params import Section


class BenchmarkParams(Section):
    batches: list[int]
    output_tokens: int = Field(ge=2)
    rounds: int = Field(ge=3, description="interleaved repetitions of each workload")
    warmup_rounds: int = Field(default=1, ge=1)
