"""On what a figure was measured: processor, memory, accelerator, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

from core.records import Machine

PACKAGES = ("torch", "transformers", "onnxruntime", "onnxruntime-genai", "onnxruntime-genai-cuda", "numpy", "vllm")


def describe(threads: int) -> Machine:
    """This machine, with the number of threads that runtimes were given."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mib=round(psutil.virtual_memory().total / 2**20),
        accelerator=_accelerator(),
        threads=threads,
        versions={"python": platform.python_version()} | _versions(),
    )


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def _accelerator() -> str | None:
    """Name and driver of the first NVIDIA GPU, or None where there is no driver or no GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if pynvml.nvmlDeviceGetCount() == 0:
            return None
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
        return f"{name}, driver {pynvml.nvmlSystemGetDriverVersion()}"
    finally:
        pynvml.nvmlShutdown()
