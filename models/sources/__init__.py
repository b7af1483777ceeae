"""The source contract. Each file here is one place a model can come from.

A source module has `open_source(source, revision) -> Source`, which looks but downloads no weights.
Only top-level files count: what a repository keeps in folders (other formats, figures) is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """One model, listed but not fetched."""

    downloads: bool  # whether `fetch` takes disk space of its own; a local folder is hard-linked

    def files(self) -> dict[str, int]:
        """Name and size in bytes of every top-level file."""
        ...

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Put these files into `folder`. Raises SourceError; what was fetched before is kept for the next try."""
        ...

    def discard(self) -> None:
        """Called when the model is complete and checked: drop what was kept for another try."""
        ...
