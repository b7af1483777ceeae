"""How files get into the model's folder: hard links where the disk allows, and downloads that survive a kill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from core import files, paths
from core.progress import say


def link(source: Path, target: Path) -> None:
    """Make `target` a hard link to the file that `source` leads to, or a copy where links are not possible.

    Never a symbolic link: the model's folder must stay whole when its source is moved or a cache is cleaned.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:  # another device, a file system without links, or a file of another user
        shutil.copyfile(source, target)


class Downloads:
    """A folder in the cache for one exact set of remote files; each is complete there or absent."""

    def __init__(self, key: str) -> None:
        """`key` must change with the remote content: an address with its sizes and entity tags."""
        self.folder = paths.CACHE / "downloads" / files.sha256_bytes(key.encode())[:16]

    def fetch(
        self, names: Sequence[str], sizes: dict[str, int], folder: Path, download: Callable[[str, Path], None]
    ) -> None:
        """Call `download(name, path)` for each name that is not here yet, then link all of `names` into `folder`."""
        for name in names:
            kept = self.folder / name
            if not kept.exists() or kept.stat().st_size != sizes[name]:
                say(f"download: {name}, {sizes[name] / 2**20:.1f} MiB")
                with files.atomic_path(kept) as temporary:
                    download(name, temporary)
            link(kept, folder / name)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
