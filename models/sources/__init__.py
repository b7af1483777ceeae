"""The source contract. Each file here is one place a model can come from.

A source module has `open_source(source, revision) -> Source`, which looks but downloads no weights.
Only top-level files count: what a repository keeps in folders (other formats, figures) is not needed.
`identity` is asked in every run, by the stage `inputs`: it must be quick where nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from core import plugins
from models.params import ModelParams


class Source(Protocol):
    """One model, listed but not fetched."""

    downloads: bool  # whether `fetch` takes disk space of its own; a local folder is hard-linked

    def files(self) -> dict[str, int]:
        """Name and size in bytes of every top-level file."""
        ...

    def identity(self) -> dict[str, str]:
        """What tells this content from any other, by name: digests, entity tags, a version, a commit.

        The same on every machine, and no secret: it is recorded in artifacts/inputs.json. Raises SourceError.
        """
        ...

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        """Put these files into `folder`. Raises SourceError; what was fetched before is kept for the next try."""
        ...

    def discard(self) -> None:
        """Called when the model is complete and checked: drop what was kept for another try."""
        ...


def open_source(model: ModelParams) -> Source:
    """The source behind `model.source`; a folder that exists wins over a hub id of the same name."""
    address = model.source
    if address.startswith("s3://"):
        kind = "s3"
    elif address.startswith("models:/"):
        kind = "mlflow"
    elif Path(address).is_dir():
        kind = "local"
    else:
        kind = "hub"
    source: Source = plugins.load("models.sources", kind).open_source(address, model.revision)
    return source
