"""SHA-256 of files outside the project, each read once: kept by path, inode, size and time of its last change."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core import files, paths
from core.errors import DataError
from core.progress import say

KEPT = "digests.json"
SETTLED_S = 2.0  # a file written a moment ago may change again within one tick of its file system's clock
LEFT_OUT = re.compile(r"\.|__pycache__$")  # what git, Python and editors keep beside a user's files
SLOW_BYTES = 2**30  # a second or more to read: said beforehand


def below(path: Path) -> dict[str, str]:
    """Path → digest of the file `path`, or of every file in that folder and its folders, as `path` is written.

    Names that match `LEFT_OUT` do not count. DataError names what cannot be read.
    """
    if not path.is_dir():
        return of([path])
    found = (file for file in path.rglob("*") if file.is_file())
    return of(file for file in found if not any(LEFT_OUT.match(part) for part in file.relative_to(path).parts))


def of(wanted: Iterable[Path]) -> dict[str, str]:
    """Path → digest of each file, in order of path. DataError names the one that cannot be read."""
    listed = sorted(wanted)
    known, begun = _read(), time.time()
    try:
        stamps = {path: _stamp(path) for path in listed}
        new = [path for path in listed if known.get(_key(path), [])[:-1] != stamps[path]]
        if sum(path.stat().st_size for path in new) > SLOW_BYTES:
            say(f"hashing {len(new)} files in {new[0].parent}: new, or changed since the last time")
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # hashlib lets go of the lock
            fresh = dict(zip(new, pool.map(files.sha256_file, new), strict=True))
        settled = [path for path in new if _stamp(path) == stamps[path] and path.stat().st_mtime < begun - SETTLED_S]
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}): check its path in params.yaml"
        ) from error
    if settled:
        known = {key: entry for key, entry in known.items() if Path(key).exists()}
        known |= {_key(path): [*stamps[path], fresh[path]] for path in settled}
        files.write_text(paths.CACHE / KEPT, json.dumps(known))
    return {str(path): fresh.get(path) or str(known[_key(path)][-1]) for path in listed}


def _read() -> dict[str, list[int | str]]:
    try:
        found: dict[str, list[int | str]] = json.loads((paths.CACHE / KEPT).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _key(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path) -> list[int | str]:
    seen = path.stat()
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns]
