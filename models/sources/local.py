"""A folder on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import DataError, SourceError
from host import digests
from models.manifest import is_source
from models.sources._files import link


def open_source(source: str, revision: str | None) -> LocalSource:
    """The model in the folder `source`; `revision` does not apply."""
    if revision is not None:
        raise SourceError(
            f"model.source {source} is a local folder, which has no revision: set model.revision to null"
        )
    return LocalSource(Path(source))


class LocalSource:
    downloads = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> dict[str, int]:
        return {file.name: file.stat().st_size for file in self._folder.iterdir() if file.is_file()}

    def identity(self) -> dict[str, str]:
        """Each file's SHA-256; a file that was seen before and has not changed since is not read again."""
        try:
            found = digests.of(self._folder / name for name in self.files() if is_source(name))
        except DataError as error:
            raise SourceError(str(error)) from error
        return {Path(path).name: digest for path, digest in found.items()}

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        for name in names:
            link(self._folder / name, folder / name)

    def discard(self) -> None:
        """Nothing was kept."""
