"""From samples to the GPU benchmark's rows, and from rows to the targets: pure functions over the record."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gpu.records import GpuRow, GpuRun, GpuTarget
from benchmarks.measure import figures
from benchmarks.measure.side import Sample

GOOD_TTFT_MS = 500.0  # the guide's latency


def row(
    name: str, requests: int, samples: Sequence[Sample], first: Sequence[Sample], step_limit_s: float | None
) -> GpuRow:
    """The figures of one side from its timed rounds; `first` are short requests for the time to first token.

    `step_limit_s` is the least time a step can take: bytes to read over the card's bandwidth.
    """
    rates = [figures.decode_tok_s(sample) for sample in samples]
    decode = figures.spread(rates)
    good = [requests / sample.wall_s if figures.ttft_ms(sample) <= GOOD_TTFT_MS else 0.0 for sample in samples]
    return GpuRow(
        name=name,
        requests=requests,
        prompt_tokens=samples[0].prompt_tokens // requests,
        output_tokens=len(samples[0].stamps_s),
        ttft_ms=figures.percentiles([figures.ttft_ms(sample) for sample in (*samples, *first)]),
        itl_ms=figures.percentiles([gap for sample in samples for gap in figures.itl_ms(sample)]),
        decode_rounds_tok_s=rates,
        decode_tok_s=decode,
        output_tok_s=figures.spread([figures.output_tok_s(sample) for sample in samples]),
        goodput_requests_s=figures.spread(good),
        bandwidth_share=decode.median * step_limit_s if step_limit_s and requests == 1 else None,
    )


def merged(before: GpuRun | None, now: GpuRun) -> GpuRun:
    """`now` over `before`: a side measured again replaces its older figures. The targets are judged anew."""
    if before is None:
        return now.model_copy(update={"targets": targets(now)})
    new = {side.name for side in now.sides} | now.not_measured.keys()
    kept = {name: why for name, why in before.not_measured.items() if name not in new}
    both = now.model_copy(
        update={
            "commands": list(dict.fromkeys([*before.commands, *now.commands])),
            "machine": now.machine.model_copy(update={"versions": before.machine.versions | now.machine.versions}),
            "sides": [side for side in before.sides if side.name not in new] + now.sides,
            "rows": [one for one in before.rows if one.name not in new] + now.rows,
            "not_measured": kept | now.not_measured,
        }
    )
    return both.model_copy(update={"targets": targets(both)})


def targets(run: GpuRun) -> list[GpuTarget]:
    """What issue and guide ask for, with what was measured."""
    variants = [side.name for side in run.sides if not side.name.startswith("hf-")]
    quantized = [name for name in variants if name.startswith("vllm-") and name != "vllm-bf16"]
    found = [_share([one for one in run.rows if one.name in variants])]
    for over, least_at in (("hf-bf16-dynamic", {1: 20.0, 8: 6.0}), ("hf-bf16-static", {1: 2.0, 8: 1.4})):
        for requests, least in least_at.items():
            pairs = [((name, requests), (over, requests)) for name in variants]
            asked = "1 request" if requests == 1 else f"{requests} requests"
            found.append(_best(run, f"times {over}, {asked}", pairs, least))
    found.append(_best(run, "8 requests over 1, same variant", [((n, 8), (n, 1)) for n in variants], 5.0))
    pairs = [((name, 64), ("vllm-bf16", 64)) for name in quantized]
    found.append(_best(run, "quantized over bf16 on vLLM, 64 requests", pairs, 1.3))
    pairs = [(("hf-fp16-static", 1), ("hf-fp32-static", 1))]
    faster = _best(run, "latency that fp16 saves against fp32, 1 request", pairs, 0.4)
    saved = {name: 1 - 1 / value for name in ("value", "low", "high") if (value := getattr(faster, name))}
    return [*found, faster.model_copy(update=saved)]


def _share(rows: Sequence[GpuRow]) -> GpuTarget:
    """The best single stream's share of the bandwidth limit for its bytes, with its slowest and fastest round."""
    measured = [(one.bandwidth_share, one) for one in rows if one.bandwidth_share]
    found = GpuTarget(
        what="best single stream, share of its bandwidth limit", value=None, low=None, high=None, at_least=0.5, by=""
    )
    if not measured:
        return found
    value, best = max(measured, key=lambda one: one[0])
    rate = best.decode_tok_s
    limit_tok_s = rate.median / value
    seen = {"value": value, "low": rate.low / limit_tok_s, "high": rate.high / limit_tok_s, "by": best.name}
    return found.model_copy(update=seen)


Measurement = tuple[str, int]  # side, requests


def _best(run: GpuRun, what: str, pairs: Sequence[tuple[Measurement, Measurement]], at_least: float) -> GpuTarget:
    """The largest ratio of decode rates, above over below, among `pairs` that were measured."""
    found = []
    for above, below in pairs:
        upper, lower = run.row(*above), run.row(*below)
        if upper and lower:
            found.append(_ratio(run, upper, lower))
    if not found:
        return GpuTarget(what=what, value=None, low=None, high=None, at_least=at_least, by="")
    value, low, high, name = max(found, key=lambda one: one[0])
    return GpuTarget(what=what, value=value, low=low, high=high, at_least=at_least, by=name)


def _ratio(run: GpuRun, upper: GpuRow, lower: GpuRow) -> tuple[float, float | None, float | None, str]:
    """Paired by round where the two took turns: one wave, as many requests at once. Otherwise of the medians."""
    waves = {side.wave for side in run.sides if side.name in (upper.name, lower.name)}
    rounds = len(upper.decode_rounds_tok_s), len(lower.decode_rounds_tok_s)
    if len(waves) == 1 and upper.requests == lower.requests and rounds[0] == rounds[1]:
        paired = figures.ratio(upper.decode_rounds_tok_s, lower.decode_rounds_tok_s)
        return paired.median, paired.low, paired.high, upper.name
    return upper.decode_tok_s.median / lower.decode_tok_s.median, None, None, upper.name
