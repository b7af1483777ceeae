"""Memory: what this process may still take, and what it has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
CONTROL_GROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own


def available_memory_bytes() -> int:
    """Memory this process can still take: the machine's, or its container's limit where that is lower."""
    import psutil

    machine = int(psutil.virtual_memory().available)
    try:
        limit = (CONTROL_GROUP / "memory.max").read_text().strip()
        used = int((CONTROL_GROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return machine  # no control group (version 2) limits this process
    if limit == "max":
        return machine
    # The page cache counts as used, but gives way.
    return min(machine, int(limit) - used + int(statistics.get("inactive_file", 0)))


def peak_rss_mib() -> float:
    """The highest resident memory of this process since its program began, in MiB.

    VmHWM where Linux has it: it starts anew at each exec. `ru_maxrss` is kept over fork and exec, so that a process
    that takes little shows what its parent, or the command that it was before, had taken.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 2**20
