"""The parts of params.yaml that DVC's stages read, in the order in which they run."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.params.section import Section


class ModelParams(Section):
    source: str = Field(description="local folder, hub id, s3://bucket/prefix or models:/name@alias")
    revision: str | None = Field(default=None, description="full commit hash; required for a hub id")
    name: str = Field(default="assay", description="name in the MLflow registry")


class MachineParams(Section):
    threads: int = Field(default=2, ge=1, description="intra-op threads of every runtime")


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


class GenerationParams(Section):
    max_tokens: int = Field(ge=1, description="new tokens for each answer; the prompt is not counted")


class CalibrateParams(Section):
    prefill_items: int = Field(ge=1, description="calibration items run as whole sequences")
    decode_items: int = Field(ge=1, description="calibration items run token by token with a real KV cache")
    decode_steps: int = Field(ge=1)
    batch: int = Field(default=16, ge=1)
    sample_rows: int = Field(
        default=1024, ge=64, description="activation rows kept per matmul input, chosen uniformly"
    )


class TargetParams(Section):
    """A GPU that engines are compiled for. Memory is what nvidia-smi calls total."""

    compute_capability: str = Field(pattern=r"^\d+\.\d$")
    memory_mib: float = Field(gt=0)


class CompileParams(Section):
    """TensorRT engines: one for each of `recipes` and each of `targets`."""

    recipes: list[str] = Field(default_factory=list, description="those whose runtime is tensorrt")
    batches: list[int] = Field(default=[16], min_length=1, description="a profile ends at each of these sizes")
    prefill_tokens: int = Field(default=384, ge=1, description="longest prompt, or text to score")
    context_tokens: int = Field(default=512, ge=2, description="prompt and answer: the KV cache of each row")
    workspace_mib: int = Field(default=4096, ge=1, description="the builder's memory-pool limit")
    reserve_mib: float = Field(default=768, ge=0, description="what CUDA and torch take for themselves")
    targets: dict[str, TargetParams] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sizes_rise(self) -> Self:
        if self.batches != sorted(set(self.batches)) or self.batches[0] < 1:
            raise ValueError("batches must rise from at least 1")
        if self.prefill_tokens > self.context_tokens:
            raise ValueError("prefill_tokens must not exceed context_tokens")
        return self


class EvaluateParams(Section):
    chunk_items: int = Field(ge=1, description="items between two looks; also the unit of resuming")
    batch: int = Field(ge=1, le=32, description="onnxruntime-genai takes at most 32 sequences at once")
    alpha: float = Field(gt=0, lt=0.5, description="error rate of a wrong pass, and of a wrong fail")
    margin_points: float = Field(gt=0, description="largest accepted loss of accuracy, in percentage points")
    teacher_forced_items: int = Field(ge=1)


class BenchmarkParams(Section):
    batches: list[int]
    output_tokens: int = Field(ge=2)
    rounds: int = Field(ge=3, description="interleaved repetitions of each workload")
    warmup_rounds: int = Field(default=1, ge=1)


class SloParams(Section):
    ttft_p95_ms: float = Field(gt=0)
    itl_p95_ms: float = Field(gt=0)


class SelectParams(Section):
    objective: Literal["throughput", "latency", "size"]
    max_size_ratio: float | None = Field(default=None, gt=0, description="artifact size over fp32's")
    slo: SloParams
