"""Memory of this machine, as far as this process may take it."""

from __future__ import annotations

from pathlib import Path

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
