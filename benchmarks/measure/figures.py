"""Timestamps to figures: pure functions. Times in ms, rates in tokens per second; every figure carries its count."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.stats import binom

from benchmarks.measure.side import Sample
from benchmarks.records import Percentiles, Spread, Workload


def ttft_ms(sample: Sample) -> float:
    """Time to first token: from the request to the first token of the batch."""
    return sample.stamps_s[0] * 1000


def itl_ms(sample: Sample) -> list[float]:
    """Inter-token latencies, one for each decode step (a batch's tokens of one step arrive together)."""
    return [float(gap) * 1000 for gap in np.diff(sample.stamps_s)]


def output_tok_s(sample: Sample) -> float:
    """Output tokens of the batch over the whole request, prefill included."""
    return sample.batch * len(sample.stamps_s) / sample.wall_s


def decode_tok_s(sample: Sample) -> float:
    """Output tokens after the first over the time after the first: what a user sees streaming, times the batch."""
    return sample.batch * (len(sample.stamps_s) - 1) / (sample.stamps_s[-1] - sample.stamps_s[0])


def prompt_tok_s(sample: Sample) -> float:
    """Prompt tokens of the batch over the time to first token."""
    return sample.prompt_tokens / sample.stamps_s[0]


def percentiles(values: Sequence[float], independent: Sequence[float] = ()) -> Percentiles:
    """p50, p95 and p99 with linear interpolation between order statistics (NumPy's default; Hyndman and Fan's 7).

    `independent`: one value of each request, for the bounds of p95. The k-th smallest of n is under the true p95 with
    the probability that at least k of n are: binomial, whatever the distribution. The highest bounds it from 59 on.
    """
    p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
    ordered, requests = sorted(independent), len(independent)
    low, high = _ranks(requests)
    return Percentiles(
        p50=p50,
        p95=p95,
        p99=p99,
        count=len(values),
        p95_low=min(ordered[low - 1], p95) if requests and low else None,
        p95_high=max(ordered[high - 1], p95) if requests and high <= requests else None,
        requests=requests,
    )


@cache
def _ranks(requests: int) -> tuple[int, int]:
    """k of the lower and of the upper bound, from 1; 0, or more than `requests`, where there is none."""
    return int(binom.ppf(0.05, requests, 0.95)), int(binom.ppf(0.95, requests, 0.95)) + 1


def quantiles(values: Sequence[float]) -> list[float]:
    """The 0th, 5th, … 100th percentile (21 values): enough to draw the distribution."""
    return [float(value) for value in np.percentile(values, range(0, 101, 5))]


def spread(values: Sequence[float]) -> Spread:
    """Median over rounds with the lowest and the highest round."""
    return Spread(median=float(np.median(values)), low=min(values), high=max(values), rounds=len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Ratio paired by round: what slows the machine in one round slows both sides of it."""
    return spread([above / below for above, below in zip(numerators, denominators, strict=True)])


def workload(
    variant: Sequence[Sample],
    baseline: Sequence[Sample],
    variant_first: Sequence[Sample] = (),
    baseline_first: Sequence[Sample] = (),
) -> Workload:
    """The figures of one batch size from the rounds of both sides; `prompt_tokens` is the mean for one request.

    `..._first` are short requests: they count for the time to first token, and for the bounds of the 95th percentile
    between tokens, to which each request gives its last gap.
    """
    asked = [*variant, *variant_first]
    first_ms = [ttft_ms(sample) for sample in asked]
    gaps = [gap for sample in variant for gap in itl_ms(sample)]
    baseline_gaps = [gap for sample in baseline for gap in itl_ms(sample)]
    decode = [decode_tok_s(sample) for sample in variant]
    baseline_decode = [decode_tok_s(sample) for sample in baseline]
    batch = variant[0].batch
    return Workload(
        batch=batch,
        prompt_tokens=round(sum(sample.prompt_tokens for sample in variant) / (batch * len(variant))),
        output_tokens=len(variant[0].stamps_s),
        ttft_ms=percentiles(first_ms, first_ms),
        itl_ms=percentiles(gaps, [itl_ms(sample)[-1] for sample in asked]),
        output_tok_s=spread([output_tok_s(sample) for sample in variant]),
        decode_tok_s=spread(decode),
        baseline_output_tok_s=spread([output_tok_s(sample) for sample in baseline]),
        baseline_decode_tok_s=spread(baseline_decode),
        decode_ratio=ratio(decode, baseline_decode),
        baseline_ttft_ms=percentiles([ttft_ms(sample) for sample in (*baseline, *baseline_first)]),
        baseline_itl_ms=percentiles(baseline_gaps),
        itl_quantiles_ms=quantiles(gaps),
        baseline_itl_quantiles_ms=quantiles(baseline_gaps),
    )
