"""GPU utilisation and memory through NVML; an empty list where there is no NVIDIA driver."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache, lru_cache


@dataclass(frozen=True)
class Reading:
    """One GPU. `utilisation` is the share of the last sample period in which a kernel ran, in [0, 1]."""

    utilisation: float
    memory_used_bytes: int


def read() -> list[Reading]:
    """Every GPU of this machine, not older than a second: NVML is too slow to ask for every request."""
    return _read(int(time.monotonic())) if _started() else []


@lru_cache(maxsize=1)
def _read(second: int) -> list[Reading]:
    import pynvml

    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        found.append(
            Reading(
                pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
                int(pynvml.nvmlDeviceGetMemoryInfo(device).used),
            )
        )
    return found


@cache
def _started() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True
