"""The builder's timing cache, kept between builds. A damaged file is found by its own digest, told, and made anew.

TensorRT-RTX times nothing before it runs, so its cache stays all but empty; TensorRT proper saves most of a rebuild.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, TypeAlias

from core import files
from core.progress import say

State: TypeAlias = Literal["new", "reused", "remade"]


def read(path: Path) -> tuple[bytes, State]:
    """The cache's content, or b"" for a new one; a file that does not match its digest counts as remade."""
    try:
        digest, _, blob = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return b"", "new"
    if digest.decode("ascii", "replace") == files.sha256_bytes(blob):
        return blob, "reused"
    say(f"compile: timing cache {path} is damaged (its digest differs): making it anew")
    return b"", "remade"


def write(path: Path, blob: bytes) -> None:
    """Keep `blob` with its digest, atomically."""
    files.write_bytes(path, files.sha256_bytes(blob).encode() + b"\n" + blob)


def attach(config: Any, path: Path) -> State:
    """Give a builder config the cache kept in `path`; one that the library refuses is told and made anew."""
    blob, state = read(path)
    with _as_before():
        if config.set_timing_cache(config.create_timing_cache(blob), ignore_mismatch=False):
            return state
        say(f"compile: timing cache {path} is of another TensorRT or GPU: making it anew")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return "remade"


def keep(config: Any, path: Path) -> None:
    """Write what the builder learned."""
    with _as_before():
        cache = config.get_timing_cache()
        write(path, bytes(cache.serialize()) if cache is not None else b"")


def _as_before() -> warnings.catch_warnings[None]:
    """TensorRT-RTX marks the calls as deprecated and does nothing; TensorRT proper needs them."""
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)
