"""On what a figure was measured: processor, memory, accelerator, versions."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from types import TracebackType

import psutil

from host import gpu, packages
from host.records import Machine

PACKAGES = (
    *("torch", "transformers", "numpy", "vllm", "compressed-tensors"),
    *("onnxruntime", "onnxruntime-gpu", "onnxruntime-genai", "onnxruntime-genai-cuda"),
)


def describe(threads: int) -> Machine:
    """This machine, with the number of threads that runtimes were given."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mib=round(psutil.virtual_memory().total / 2**20),
        accelerator=gpu.name_and_driver(),
        threads=threads,
        versions={"python": platform.python_version()} | packages.versions(PACKAGES),
    )


class Others:
    """How much CPU other processes took while a block ran: figures from a busy machine say so.

    Seen here: with others at 70 % the baseline fell to a thirtieth at times, the variant to a half.
    Every process started in the block must have ended in it.
    """

    NOTABLE_SHARE = 0.1

    def __enter__(self) -> Others:
        self.share = 0.0
        self._start = _cpu_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        total_s, busy_s, own_s = (after - before for before, after in zip(self._start, _cpu_seconds(), strict=True))
        self.share = max(0.0, busy_s - own_s) / total_s if total_s > 0 else 0.0

    def note(self) -> str | None:
        """A sentence for the record when others took enough to disturb the figures."""
        if self.share < self.NOTABLE_SHARE:
            return None
        return (
            f"other processes took {self.share:.0%} of the machine's CPU time during the run: torch's threads wait "
            "by spinning and suffer most, so ratios to Hugging Face are overstated; measure again on a quiet machine"
        )


def _cpu_seconds() -> tuple[float, float, float]:
    """CPU seconds since boot: all, not idle, and those of this process and of its children that have ended."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    guest_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice already
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    total_s = sum(times) - guest_s
    return total_s, total_s - idle_s, sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
