"""Who asks: bearer keys from a file, compared by digest so that no key stays in memory or reaches a log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core import files
from core.errors import ConfigError
from serving.wire import ApiError


def key_of(headers: Mapping[str, str]) -> str | None:
    """The bearer key of a request, or None."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def key_id(key: str) -> str:
    """A name for a key that does not give it away: for logs and limits."""
    return files.sha256_bytes(key.encode())[:12]


class Keys:
    """The keys that may ask; without a file everyone may."""

    def __init__(self, path: Path | None) -> None:
        self._digests: frozenset[str] | None = None
        if path is None:
            return
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"the key file {path} cannot be read: {why}") from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ConfigError(f"the key file {path} holds no key: one a line")
        self._digests = frozenset(files.sha256_bytes(key.encode()) for key in keys)

    @property
    def checked(self) -> bool:
        """Whether a key that got past `check` is a known one."""
        return self._digests is not None

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise ApiError 401 unless the request's key is known."""
        if self._digests is None:
            return
        key = key_of(headers)
        # A look-up of digests: what timing could tell is about SHA-256, not about a key.
        if key is None or files.sha256_bytes(key.encode()) not in self._digests:
            raise ApiError(
                401,
                "missing or unknown API key: send `Authorization: Bearer <key>`",
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
