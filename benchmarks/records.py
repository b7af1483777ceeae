"""What `benchmark` writes: the speed and memory of one variant, and on which machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.records import Record, VariantName
from host.records import Machine

REQUESTS_A_ROUND = 12  # to a variant at batch 1: five rounds give the 59 that a bound of the 95th percentile needs


class Percentiles(Record):
    """Of `count` values. The bounds of p95 rest on one value of each request, and say nothing of another day.

    Values of one request share its prompt and its moment: only requests count as independent. Each bound holds with
    95 % confidence (one-sided, from order statistics); None where `requests` are too few, and in older records.
    """

    p50: float
    p95: float
    p99: float
    count: int
    p95_low: float | None = None
    p95_high: float | None = None
    requests: int = 0


class Spread(Record):
    """Median over interleaved rounds, with the lowest and highest round."""

    median: float
    low: float
    high: float
    rounds: int


class Workload(Record):
    """One batch size: latency of every request and token, throughput of every round, and the ratio round by round."""

    batch: int
    prompt_tokens: int
    output_tokens: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    output_tok_s: Spread
    decode_tok_s: Spread
    baseline_output_tok_s: Spread
    baseline_decode_tok_s: Spread
    decode_ratio: Spread  # variant over baseline, paired by round
    baseline_ttft_ms: Percentiles | None = None
    baseline_itl_ms: Percentiles | None = None
    # 0th, 5th, … 100th percentile: the distribution, for plots
    itl_quantiles_ms: list[float] = Field(default_factory=list)
    baseline_itl_quantiles_ms: list[float] = Field(default_factory=list)


class Benchmark(Record):
    """Speed and memory of one variant, interleaved with the baseline (Hugging Face generate, fp32) in one run."""

    variant: VariantName
    manifest_sha256: str  # "none" where quantize failed
    runtime: str
    baseline: str
    status: Literal["measured", "not_measured_here", "failed"]
    why_not_measured: str | None = None
    machine: Machine
    workloads: list[Workload]
    load_ms: Spread | None
    artifact_mib: float
    peak_rss_mib: float | None
    baseline_peak_rss_mib: float | None
    wall_s: float
    # what a reader must know: a batch that did not fit, a workload kept from a killed run
    notes: list[str] = Field(default_factory=list)

    def workload(self, batch: int) -> Workload | None:
        """The figures at one batch size, or None where it was not measured."""
        return next((workload for workload in self.workloads if workload.batch == batch), None)
