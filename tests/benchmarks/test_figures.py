from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure import figures
from benchmarks.measure.side import Sample


def sample(*stamps_ms: float, batch: int = 1, wall_ms: float | None = None, prompt_tokens: int = 10) -> Sample:
    seconds = tuple(stamp / 1000 for stamp in stamps_ms)
    return Sample(batch, prompt_tokens, seconds, (wall_ms or stamps_ms[-1]) / 1000)


def test_times_and_rates_of_one_request() -> None:
    request = sample(50, 60, 80, 110, batch=4, wall_ms=120, prompt_tokens=100)
    assert figures.ttft_ms(request) == pytest.approx(50)
    assert figures.itl_ms(request) == pytest.approx([10, 20, 30])
    assert figures.output_tok_s(request) == pytest.approx(4 * 4 / 0.120)
    assert figures.decode_tok_s(request) == pytest.approx(4 * 3 / 0.060)
    assert figures.prompt_tok_s(request) == pytest.approx(100 / 0.050)


def test_percentiles_of_known_gaps() -> None:
    """Gaps of 1, 2, … 101 ms: with linear interpolation p50 is 51, p95 is 96, p99 is 100, exactly."""
    stamps_ms, now = [5.0], 5.0
    for gap in range(1, 102):
        now += gap
        stamps_ms.append(now)
    found = figures.percentiles(figures.itl_ms(sample(*stamps_ms)))
    assert (found.p50, found.p95, found.p99) == pytest.approx((51, 96, 100))
    assert found.count == 101
    assert figures.quantiles(range(101)) == pytest.approx(list(range(0, 101, 5)))


@pytest.mark.parametrize(
    ("requests", "low", "high"),
    [(0, None, None), (1, None, None), (2, 1, None), (58, 53, None), (59, 54, 59), (92, 85, 92), (93, 85, 92)],
)
def test_bounds_of_the_95th_percentile_are_order_statistics(requests: int, low: int | None, high: int | None) -> None:
    """Known ranks: the highest of 59 to 92 bounds it, the second highest of 93. See Conover, 'quantile test'."""
    found = figures.percentiles([50.0], range(1, requests + 1))
    assert (found.p95_low, found.p95_high) == (low and min(low, 50), high)
    assert found.requests == requests


def test_a_bound_holds_its_confidence_and_the_estimate_between_them() -> None:
    """Of 4,000 runs each misses the true p95 in about 5 %; one that always held would say nothing."""
    rng, runs, true = np.random.default_rng(12), 4000, np.log(20)
    for requests in (60, 72, 200):
        found = [figures.percentiles(draws, draws) for draws in rng.exponential(1.0, (runs, requests))]
        above = np.mean([one.p95_low is not None and one.p95_low > true for one in found])
        below = np.mean([one.p95_high is not None and one.p95_high < true for one in found])
        assert 0.01 < above < 0.06
        assert 0.01 < below < 0.06
        assert all(one.p95_low <= one.p95 <= one.p95_high for one in found if one.p95_low and one.p95_high)


def test_a_slow_token_shows_in_p99_and_not_in_p50() -> None:
    gaps = [1.0] * 97 + [50.0] * 3
    found = figures.percentiles(gaps)
    assert found.p50 == found.p95 == 1.0
    assert found.p99 == 50.0


def test_ratio_is_paired_by_round() -> None:
    """A machine twice as slow in round 2 slows both sides: the paired ratio stays 4, medians' spread does not."""
    variant, baseline = [400.0, 200.0, 400.0], [100.0, 50.0, 100.0]
    paired = figures.ratio(variant, baseline)
    assert (paired.median, paired.low, paired.high, paired.rounds) == (4.0, 4.0, 4.0, 3)
    assert figures.spread(variant).low == 200.0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        figures.ratio([1.0], [1.0, 2.0])


def test_workload_pools_tokens_over_rounds() -> None:
    fast = [sample(10, 12, 14, batch=2, prompt_tokens=20), sample(20, 22, 26, batch=2, prompt_tokens=24)]
    slow = [sample(30, 40, 50, batch=2), sample(30, 40, 50, batch=2)]
    workload = figures.workload(fast, slow)
    assert (workload.batch, workload.prompt_tokens, workload.output_tokens) == (2, 11, 3)
    assert workload.ttft_ms.count == 2
    assert (workload.itl_ms.count, workload.itl_ms.requests) == (4, 2)  # steps of one request are no samples
    assert workload.ttft_ms.p50 == pytest.approx(15)
    assert workload.decode_ratio.high == pytest.approx(5)
    assert workload.decode_ratio.low == pytest.approx(20 / 6)
    assert workload.baseline_itl_ms is not None
    assert workload.baseline_itl_ms.p50 == pytest.approx(10)
