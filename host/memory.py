"""How much memory this process has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


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
