"""The first NVIDIA GPU of this machine, asked of its driver through NVML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Card:
    """An NVIDIA GPU. `capability` is its compute capability, such as "8.9"."""

    name: str
    capability: str
    memory_mib: float


def why_no_gpu() -> str | None:
    """Why there is no NVIDIA GPU to use; None if there is one."""
    with _first() as (_, reason):
        return reason


def card() -> Card | None:
    """The first GPU, or None where there is no driver or no GPU."""
    import pynvml

    with _first() as (handle, _):
        if handle is None:
            return None
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        total_mib = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**20
        return Card(str(pynvml.nvmlDeviceGetName(handle)), f"{major}.{minor}", total_mib)


def name_and_driver() -> str | None:
    """The first GPU as `NVIDIA H200, driver 580.95.05`, or None where there is no driver or no GPU."""
    import pynvml

    with _first() as (handle, _):
        if handle is None:
            return None
        return f"{pynvml.nvmlDeviceGetName(handle)}, driver {pynvml.nvmlSystemGetDriverVersion()}"


@contextmanager
def _first() -> Iterator[tuple[Any | None, str | None]]:
    """NVML's handle of the first GPU, valid in the block, or None and why there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield None, f"no NVIDIA driver ({error})"
        return
    try:
        if pynvml.nvmlDeviceGetCount():
            yield pynvml.nvmlDeviceGetHandleByIndex(0), None
        else:
            yield None, "no NVIDIA GPU"
    finally:
        pynvml.nvmlShutdown()
