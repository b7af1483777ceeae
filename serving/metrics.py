"""Prometheus metrics. Every one carries `digest` (of the manifest) and `slot`, so that two versions can be compared.

| metric | type | further labels | meaning |
|---|---|---|---|
| assay_requests_total | counter | code, endpoint | answered requests for generation; code 499: the client left |
| assay_ttft_seconds | histogram | | arrival to first token |
| assay_itl_seconds | histogram | | between two tokens of one request |
| assay_answers_total | counter | kind | ok, empty (nothing after the reasoning), truncated (length limit) |
| assay_inflight_requests | gauge | | being answered, waiting ones included |
| assay_queue_requests | gauge | | waiting for a place in the batch |
| assay_batch_requests | histogram | | requests in the batch, a step |
| assay_tokens_total | counter | direction | in (prompt), out (answer) |
| assay_cache_total | counter | result | hit, miss, down |
| assay_gpu_utilisation_ratio, assay_gpu_memory_used_bytes | gauge | gpu | by NVML, where there is a GPU |
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TTFT_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 10, 30)
ITL_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2)
BATCH = (1, 2, 4, 8, 12, 16, 24, 32, 64, 128)
Kind = Literal["ok", "empty", "truncated"]


class Metrics:
    """One registry a server, so that several can live in one process."""

    def __init__(self, digest: str, slot: str) -> None:
        self._registry = CollectorRegistry()
        self._own = {"digest": digest, "slot": slot}
        own = tuple(self._own)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, (*own, *labels), registry=self._registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name, text, own, buckets=buckets, registry=self._registry).labels(**self._own)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, own, registry=self._registry).labels(**self._own)

        self._requests = counter("assay_requests_total", "Answered requests for generation", "code", "endpoint")
        self._answers = counter("assay_answers_total", "Answers by kind", "kind")
        self._tokens = counter("assay_tokens_total", "Tokens by direction", "direction")
        self._cache = counter("assay_cache_total", "Cache look-ups by result", "result")
        self.ttft = histogram("assay_ttft_seconds", "Arrival to first token", TTFT_S)
        self.itl = histogram("assay_itl_seconds", "Between two tokens of one request", ITL_S)
        self.batch = histogram("assay_batch_requests", "Requests in the batch, a step", BATCH)
        self.inflight = gauge("assay_inflight_requests", "Being answered, waiting ones included")
        self.queue = gauge("assay_queue_requests", "Waiting for a place in the batch")
        self._gpu_use = Gauge("assay_gpu_utilisation_ratio", "By NVML", (*own, "gpu"), registry=self._registry)
        self._gpu_memory = Gauge("assay_gpu_memory_used_bytes", "By NVML", (*own, "gpu"), registry=self._registry)
        for kind in ("ok", "empty", "truncated"):
            self._answers.labels(**self._own, kind=kind)  # present from the start: a rate needs a first value

    def request(self, code: int, endpoint: str) -> None:
        """One request was answered."""
        self._requests.labels(**self._own, code=str(code), endpoint=endpoint).inc()

    def answer(self, kind: Kind, tokens_in: int, tokens_out: int) -> None:
        """One answer is complete."""
        self._answers.labels(**self._own, kind=kind).inc()
        self._tokens.labels(**self._own, direction="in").inc(tokens_in)
        self._tokens.labels(**self._own, direction="out").inc(tokens_out)

    def cache(self, result: Literal["hit", "miss", "down"]) -> None:
        """One look-up in the cache."""
        self._cache.labels(**self._own, result=result).inc()

    def times(self, arrived_s: float, token_times_s: Sequence[float]) -> None:
        """TTFT and ITL of one request, from clock readings of its tokens."""
        if token_times_s:
            self.ttft.observe(token_times_s[0] - arrived_s)
        for before, after in itertools.pairwise(token_times_s):
            self.itl.observe(after - before)

    def text(self, waiting: Callable[[], int]) -> bytes:
        """The exposition format, with gauges read now."""
        self.queue.set(waiting())
        for index, reading in enumerate(gpu_readings()):
            for gauge, value in (
                (self._gpu_use, reading.utilisation),
                (self._gpu_memory, reading.memory_used_bytes),
            ):
                if value is not None:
                    gauge.labels(**self._own, gpu=str(index)).set(value)
        return generate_latest(self._registry)


@dataclass(frozen=True)
class GpuReading:
    """One GPU. `utilisation` is the share of the last sample period in which a kernel ran, in [0, 1].

    None is what NVML does not tell: it has no utilisation of a MIG slice, and nothing of a GPU that is lost.
    """

    utilisation: float | None
    memory_used_bytes: int | None


def gpu_readings() -> list[GpuReading]:
    """Every GPU of this machine, none without an NVIDIA driver; up to a second old, as NVML is slow to answer."""
    return _read_gpus(int(time.monotonic())) if _nvml_started() else []


def gpu_memory_used_bytes() -> int | None:
    """Memory in use over all GPUs; None where there is none that tells."""
    known = [found for reading in gpu_readings() if (found := reading.memory_used_bytes) is not None]
    return sum(known) if known else None


@lru_cache(maxsize=1)
def _read_gpus(second: int) -> list[GpuReading]:
    import pynvml

    def ask(index: int, figure: Callable[[Any], float]) -> float | None:
        try:
            return figure(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError:
            return None

    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        use = ask(index, lambda device: pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        used = ask(index, lambda device: pynvml.nvmlDeviceGetMemoryInfo(device).used)
        found.append(GpuReading(use, None if used is None else int(used)))
    return found


@cache
def _nvml_started() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True
