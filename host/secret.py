"""Secrets come from the environment or from a file that it names, never from params or a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from core.errors import ConfigError

MIN_CHARACTERS = 16


def read(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The secret in variable `name`, or in the file that `name`_FILE names; surrounding white space is dropped.

    Raises ConfigError, without the value, when there is none, or one too short to keep anybody out.
    """
    file = environment.get(f"{name}_FILE")
    try:
        found = (environment.get(name) or (Path(file).read_text() if file else "")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}_FILE: {file} cannot be read: {error}") from error
    if not found:
        raise ConfigError(f"set {name}, or {name}_FILE to a file that holds it")
    if len(found) < MIN_CHARACTERS:
        raise ConfigError(f"{name} has {len(found)} characters: use at least {MIN_CHARACTERS}")
    return found
