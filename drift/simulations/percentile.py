"""The gate of a 95th percentile, through the benchmark's figures and the gate itself: some requests are slow."""

from __future__ import annotations

import numpy as np

from benchmarks.measure.figures import percentiles
from benchmarks.records import REQUESTS_A_ROUND
from drift.simulations import Row
from drift.simulations.parts import NONE, SEED, WRONG_AT_MARGIN, Limits
from selection.gates import Evidence
from selection.gates.latency import MIN_P95_REQUESTS, held_to

TITLE = "A 95th percentile held to its limit: how often a variant passes, by the share of requests above the limit"
LIMIT_MS, FAST_MS, SLOW_MS = 1.0, 0.5, 2.0
VARIANT = Evidence("variant", "ort", None, None, None, None)
FEW, MANY = MIN_P95_REQUESTS, 6 * REQUESTS_A_ROUND
TRUTHS: list[tuple[int, float, Limits, Limits]] = [
    (FEW, 0.10, {"passed": 0.01}, NONE),
    (FEW, 0.05, WRONG_AT_MARGIN, NONE),
    (FEW, 0.00, NONE, {"passed": 1.0}),
    (MANY, 0.10, {"passed": 0.01}, NONE),
    (MANY, 0.05, WRONG_AT_MARGIN, NONE),
    (MANY, 0.30, NONE, {"failed": 0.99}),
]


def measure(runs: int) -> list[Row]:
    estimates = np.percentile(_requests(runs, 20, 0.10), 95, axis=1)
    passed = float(np.mean(estimates <= LIMIT_MS))
    rows = [Row("unprotected: the estimate of 20 requests, 10 % above the limit", runs, {"passed": passed})]
    for requests, above, at_most, at_least in TRUTHS:
        drawn = _requests(runs, requests, above)
        verdicts = [held_to(VARIANT, "p95", percentiles(one, one), LIMIT_MS).verdict for one in drawn]
        shares = {"passed": verdicts.count("pass") / runs, "failed": verdicts.count("fail") / runs}
        truth = f"{requests} requests, {above:.0%} above the limit"
        rows.append(Row(truth, runs, shares, at_most=at_most, at_least=at_least))
    return rows


def _requests(runs: int, requests: int, above: float) -> np.ndarray:
    """Milliseconds of shape (runs, requests)."""
    rng = np.random.default_rng([SEED, requests, int(1e3 * above)])
    return np.where(rng.random((runs, requests)) < above, SLOW_MS, FAST_MS)
