"""What params.yaml says of the benchmark."""

from __future__ import annotations

from pydantic import Field, field_validator

from core.params import Section


class BenchmarkParams(Section):
    batches: list[int] = Field(description="each is measured; gates and objective read batch 1")
    output_tokens: int = Field(ge=2)
    rounds: int = Field(ge=3, description="interleaved repetitions of each workload")
    warmup_rounds: int = Field(default=1, ge=1)

    @field_validator("batches")
    @classmethod
    def _rise_from_one(cls, batches: list[int]) -> list[int]:
        if batches[:1] != [1] or batches != sorted(set(batches)):
            raise ValueError(f"{batches} must rise from 1, the batch that gates judge")
        return batches
