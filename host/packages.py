"""Which Python packages are installed, or pinned in a lock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each distribution among `names` that is installed, in their order; the others are left out."""
    installed = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def locked(lock: Path) -> dict[str, str]:
    """The version of each distribution that a lock, in pip's requirements format, pins; nothing without a lock."""
    return dict(PIN.findall(lock.read_text())) if lock.exists() else {}
