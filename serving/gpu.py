"""GPU utilisation and memory through NVML; an empty list where there is no NVIDIA driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One GPU. `utilisation` is the share of the last sample period in which a kernel ran, in [0, 1].

    None is what NVML does not tell: it has no utilisation of a MIG slice, and nothing of a GPU that is lost.
    """

    utilisation: float | None
    memory_used_bytes: int | None


def read() -> list[Reading]:
    """Every GPU of this machine, not older than a second: NVML is too slow to ask for every request."""
    return _read(int(time.monotonic())) if _started() else []


def memory_used_bytes() -> int | None:
    """Over all GPUs; None where there is none that tells."""
    known = [found for reading in read() if (found := reading.memory_used_bytes) is not None]
    return sum(known) if known else None


@lru_cache(maxsize=1)
def _read(second: int) -> list[Reading]:
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
        found.append(Reading(use, None if used is None else int(used)))
    return found


@cache
def _started() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True
