"""What the GPU benchmark writes, and what it says about the targets: pure functions over the record."""

from __future__ import annotations

from collections.abc import Sequence

from bench import figures
from bench.side import Sample
from core.records import Machine, Percentiles, Record, Spread

GOOD_TTFT_MS = 500.0  # the guide's latency
# Memory bandwidth in bytes per second by the vendor's datasheet, by a part of the name that the driver gives.
BANDWIDTH = {
    "H200": 4.8e12,
    "H100 80GB HBM3": 3.35e12,
    "H100 PCIe": 2.0e12,
    "A100-SXM4-80GB": 2.039e12,
    "A100": 1.555e12,
    "L40S": 0.864e12,
    "A10": 0.6e12,
    "L4": 0.3e12,
    "T4": 0.32e12,
}


class GpuSide(Record):
    """One engine with one model. `read_bytes` is what a decode step must read: the weights without the embedding."""

    name: str
    module: str
    options: dict[str, str]
    artifact_mib: float
    read_bytes: int
    load_ms: float  # imports, compilation and CUDA graphs included
    gpu_memory_mib: float | None  # of its process, by NVML
    peak_rss_mib: float
    profile: dict[str, object] | None = None


class GpuRow(Record):
    """One side at one number of requests, all sent at once. Percentiles of TTFT are over requests' batches."""

    name: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    decode_tok_s: Spread
    output_tok_s: Spread
    goodput_requests_s: Spread  # answers per second whose first token came within GOOD_TTFT_MS
    bandwidth_share: float | None  # at one request: decode rate over bandwidth / read_bytes


class GpuRun(Record):
    """Sides measured one after another on one card, in one or more calls; a later call replaces a side's figures."""

    commands: list[str]
    model: str
    machine: Machine
    bandwidth_bytes_s: float | None
    copy_bytes_s: float | None  # seen: a device-to-device copy, bytes read plus written
    sides: list[GpuSide]
    rows: list[GpuRow]
    not_measured: dict[str, str]
    notes: list[str]

    def rate(self, name: str, requests: int) -> float | None:
        """Median decode tok/s of one side, or None where it was not measured."""
        found = [row for row in self.rows if (row.name, row.requests) == (name, requests)]
        return found[0].decode_tok_s.median if found else None


class Target(Record):
    """A figure that was asked for. `value` is None where a side that it needs was not measured."""

    what: str
    value: float | None
    at_least: float
    by: str

    @property
    def met(self) -> bool:
        return self.value is not None and self.value >= self.at_least


def row(
    name: str, requests: int, samples: Sequence[Sample], first: Sequence[Sample], step_limit_s: float | None
) -> GpuRow:
    """The figures of one side from its timed rounds; `first` are short requests for the time to first token.

    `step_limit_s` is the least time a step can take: bytes to read over the card's bandwidth.
    """
    decode = figures.spread([figures.decode_tok_s(sample) for sample in samples])
    good = [requests / sample.wall_s if figures.ttft_ms(sample) <= GOOD_TTFT_MS else 0.0 for sample in samples]
    return GpuRow(
        name=name,
        requests=requests,
        prompt_tokens=samples[0].prompt_tokens // requests,
        output_tokens=len(samples[0].stamps_s),
        ttft_ms=figures.percentiles([figures.ttft_ms(sample) for sample in (*samples, *first)]),
        itl_ms=figures.percentiles([gap for sample in samples for gap in figures.itl_ms(sample)]),
        decode_tok_s=decode,
        output_tok_s=figures.spread([figures.output_tok_s(sample) for sample in samples]),
        goodput_requests_s=figures.spread(good),
        bandwidth_share=decode.median * step_limit_s if step_limit_s and requests == 1 else None,
    )


def merged(before: GpuRun | None, now: GpuRun) -> GpuRun:
    """`now` over `before`: a side measured again replaces its older figures."""
    if before is None:
        return now
    new = {side.name for side in now.sides} | now.not_measured.keys()
    kept = {name: why for name, why in before.not_measured.items() if name not in new}
    versions = before.machine.versions | now.machine.versions
    return now.model_copy(
        update={
            "commands": list(dict.fromkeys([*before.commands, *now.commands])),
            "machine": now.machine.model_copy(update={"versions": versions}),
            "sides": [side for side in before.sides if side.name not in new] + now.sides,
            "rows": [one for one in before.rows if one.name not in new] + now.rows,
            "not_measured": kept | now.not_measured,
            "notes": list(dict.fromkeys([*before.notes, *now.notes])),
            "copy_bytes_s": now.copy_bytes_s or before.copy_bytes_s,
        }
    )


def targets(run: GpuRun) -> list[Target]:
    """What issue and guide ask for, with what was measured."""
    variants = [side.name for side in run.sides if not side.name.startswith("hf-")]
    vllm = [name for name in variants if name.startswith("vllm-") and name != "vllm-bf16"]

    def best(names: Sequence[str], requests: int, over: str | None = None) -> tuple[float | None, str]:
        below = run.rate(over, requests) if over else 1.0
        rates = [(rate / below, name) for name in names if below and (rate := run.rate(name, requests))]
        return max(rates) if rates else (None, "")

    shares = [(one.bandwidth_share, one.name) for one in run.rows if one.bandwidth_share and one.name in variants]
    share, single = max(shares) if shares else (None, "")
    found = [Target(what="best single stream, share of its bandwidth limit", value=share, at_least=0.5, by=single)]
    for over, one, eight in (("hf-bf16-dynamic", 20.0, 6.0), ("hf-bf16-static", 2.0, 1.4)):
        for requests, least in ((1, one), (8, eight)):
            value, name = best(variants, requests, over)
            found.append(Target(what=f"times {over}, {requests} requests", value=value, at_least=least, by=name))
    scaling = [(many / lone, n) for n in variants if (lone := run.rate(n, 1)) and (many := run.rate(n, 8))]
    factor, name = max(scaling) if scaling else (None, "")
    found.append(Target(what="8 requests over 1, same variant", value=factor, at_least=5.0, by=name))
    value, name = best(vllm, 64, "vllm-bf16")
    found.append(Target(what="quantized over bf16 on vLLM, 64 requests", value=value, at_least=1.3, by=name))
    half, full = run.rate("hf-fp16-static", 1), run.rate("hf-fp32-static", 1)
    cut = 1 - full / half if half and full else None
    found.append(Target(what="latency that fp16 saves against fp32", value=cut, at_least=0.4, by="hf-fp16-static"))
    return found
