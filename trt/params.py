"""What params.yaml says of TensorRT engines."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.params import Section


class TargetParams(Section):
    """A GPU that engines are compiled for. Memory is what nvidia-smi calls total."""

    compute_capability: str = Field(pattern=r"^\d+\.\d$")
    memory_mib: float = Field(gt=0)


TargetName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="also a folder's name")]


class CompileParams(Section):
    """TensorRT engines: one for each recipe whose quantizer makes a graph for TensorRT, and each of `targets`."""

    batches: list[int] = Field(default=[16], min_length=1, description="a profile ends at each of these sizes")
    prefill_tokens: int = Field(default=384, ge=1, description="longest prompt, or text to score")
    context_tokens: int = Field(default=512, ge=2, description="prompt and answer: the KV cache of each row")
    workspace_mib: int = Field(default=4096, ge=1, description="the builder's memory-pool limit")
    reserve_mib: float = Field(default=768, ge=0, description="what CUDA and torch take for themselves")
    targets: dict[TargetName, TargetParams] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sizes_rise(self) -> Self:
        if self.batches != sorted(set(self.batches)) or self.batches[0] < 1:
            raise ValueError("batches must rise from at least 1")
        if self.prefill_tokens > self.context_tokens:
            raise ValueError("prefill_tokens must not exceed context_tokens")
        return self


class CompileSettings(Section):
    compile: CompileParams = CompileParams()
