"""Items of one cluster (questions of one source) say less than as many of different ones: they count as one."""

from __future__ import annotations

from collections.abc import Sequence


def consecutive(names: Sequence[str | None]) -> list[list[int]]:
    """Indices by cluster, in order: neighbours of one name are a cluster, an item without one is its own."""
    found: list[list[int]] = []
    for index, name in enumerate(names):
        if index and name is not None and name == names[index - 1]:
            found[-1].append(index)
        else:
            found.append([index])
    return found
