"""Progress that a person can follow in a terminal and a CI log can hold: tqdm, on stderr, at a calm rate."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], label: str, total: int | None = None, unit: str = "item") -> Iterator[T]:
    """Iterate over `items` with a progress bar named `label`; in a log (no terminal) at most one line in 10 s."""
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    return iter(tqdm(items, desc=label, total=total, unit=unit, mininterval=interval_s, file=sys.stderr, leave=True))


def say(message: str) -> None:
    """One line of progress on stderr; stdout is kept for results."""
    print(message, file=sys.stderr, flush=True)
