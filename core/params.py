"""What every part of params.yaml is, and how a reader takes the parts that it needs from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, wrong_fields

PARAMS_FILE = Path("params.yaml")
T = TypeVar("T", bound="Section")
Seed = Annotated[int, Field(ge=0, lt=2**32, description="what numpy, torch and random take")]


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, as are NaN and infinity; values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load(kind: type[T], path: Path = PARAMS_FILE) -> T:
    """Those top-level keys of params.yaml that `kind` has as fields, checked; the other keys are somebody else's.

    A DVC stage has a `Settings` of its own, whose fields are the `params` that dvc.yaml lists for it: what it does
    not read cannot make its result stale. Raises ConfigError with the key of each problem.
    """
    found = raw(path)
    return check(kind, {name: found[name] for name in kind.model_fields if name in found}, path)


def check(kind: type[T], found: dict[str, Any], path: Path) -> T:
    """`found`, read from `path`, as a `kind`."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise ConfigError(f"{path}: {wrong_fields(error)}") from error


def raw(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """params.yaml as it was written."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} not found: run from the project's root") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date like 2026-13-45
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no keys")
    return found
