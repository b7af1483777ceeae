"""Which Python packages are installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each distribution among `names` that is installed, in their order; the others are left out."""
    installed = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
