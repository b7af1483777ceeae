"""GPU utilisation and memory through NVML; an empty list where there is no NVIDIA driver."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Reading:
    """One GPU. `utilisation` is the share of the last sample period in which a kernel ran, in [0, 1]."""

    utilisation: float
    memory_used_bytes: int


def read() -> list[Reading]:
    """Every GPU of this machine, now."""
    if not _started():
        return []
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
