"""What the GPU benchmarks keep under benchmarks/results/gpu/: speed of every engine, drift of every GPU recipe."""

from __future__ import annotations

from pydantic import Field

from benchmarks.records import Percentiles, Spread
from core.records import Record
from evaluation.records import Evaluation
from host.records import Machine


class GpuKernel(Record):
    """One kernel over a whole answer; `share` is of the time that the card was busy."""

    name: str
    calls: int
    ms: float
    share: float


class GpuProfile(Record):
    """Where the time of one answer to one request goes, prefill included."""

    tokens: int
    wall_ms: float  # without the profiler, which slows the host
    gpu_busy_ms: float
    kernels_launched: int
    kernels: list[GpuKernel]  # the longest first


class GpuTarget(Record):
    """A figure that was asked for. `value` is None where a side that it needs was not measured.

    `low` and `high` are the lowest and highest round, where the two sides took turns; else None.
    """

    what: str
    value: float | None
    low: float | None
    high: float | None
    at_least: float
    by: str

    @property
    def met(self) -> bool:
        return self.value is not None and self.value >= self.at_least


class GpuSide(Record):
    """One engine with one model. `read_bytes` is what a decode step must read: the weights without the embedding."""

    name: str
    module: str
    options: dict[str, str]
    wave: str  # sides of one wave were loaded together and measured in interleaved rounds
    artifact_mib: float
    read_bytes: int
    load_ms: float  # imports, compilation and CUDA graphs included
    gpu_memory_mib: float | None  # of its processes, by NVML
    peak_rss_mib: float  # of the calling process: vLLM's engine runs in another one
    profile: GpuProfile | None = None
    notes: list[str] = Field(default_factory=list)


class GpuRow(Record):
    """One side at one number of requests, all sent at once. Percentiles of TTFT are over requests' batches."""

    name: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    decode_rounds_tok_s: list[float]  # in the order of the rounds, so that sides of one wave pair up
    decode_tok_s: Spread
    output_tok_s: Spread
    goodput_requests_s: Spread  # answers per second whose first token came within the guide's 500 ms
    bandwidth_share: float | None  # at one request: decode rate over bandwidth / read_bytes


class GpuRun(Record):
    """Speed of the sides on one card. A later call replaces the figures of the sides that it names."""

    commands: list[str]
    model: str
    machine: Machine
    bandwidth_bytes_s: float | None  # by the vendor's datasheet
    copy_bytes_s: float | None  # seen: a device-to-device copy, bytes read plus written
    sides: list[GpuSide]
    rows: list[GpuRow]
    not_measured: dict[str, str]
    targets: list[GpuTarget] = Field(default_factory=list)

    def row(self, name: str, requests: int) -> GpuRow | None:
        """The figures of one side at a number of requests, or None where they were not measured."""
        return next((row for row in self.rows if (row.name, row.requests) == (name, requests)), None)


class GpuDrift(Record):
    """Verdicts that `stages.evaluate` reached on a GPU, each of the version with its manifest's SHA-256."""

    commands: list[str]
    machine: Machine
    evaluations: list[Evaluation]
