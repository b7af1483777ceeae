"""The one error tree. Everything a user can cause derives from AssayError.

    AssayError
    ├── ConfigError            params.yaml or a command line is wrong
    ├── SourceError            the model cannot be fetched or read
    │   └── UnsupportedModelError   it is readable, but not a family that works here
    ├── IntegrityError         files do not match their manifest
    ├── ResourceError          not enough disk or memory
    ├── DataError              a data set is wrong (expectation, scorer, tokenizer)
    ├── ExportError            the graph does not compute what torch computes
    ├── QuantizationError      a recipe did not do what it promised
    ├── EngineError            TensorRT could not make an engine of a graph
    ├── RuntimeFault           an inference runtime failed
    ├── RegistryError          MLflow could not be read or written
    ├── RolloutError           a rollout may not start, or its record does not hold together
    │   └── TargetError            a slot, the gateway or the cluster did not do what it was asked, or in time
    └── NoVariantPassed        every variant was stopped by a gate

A message says what was wrong, where, and what to do. Command lines print it as one line and exit with `exit_code`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class AssayError(Exception):
    """Base of everything Assay raises on purpose."""

    exit_code = 1


class ConfigError(AssayError):
    exit_code = 2


class SourceError(AssayError):
    pass


class UnsupportedModelError(SourceError):
    pass


class IntegrityError(AssayError):
    pass


class ResourceError(AssayError):
    pass


class DataError(AssayError):
    pass


class ExportError(AssayError):
    pass


class QuantizationError(AssayError):
    pass


class EngineError(AssayError):
    pass


class RuntimeFault(AssayError):  # noqa: N818 - RuntimeError is Python's own
    pass


class RegistryError(AssayError):
    pass


class RolloutError(AssayError):
    pass


class TargetError(RolloutError):
    pass


class NoVariantPassed(AssayError):  # noqa: N818 - an outcome, named as the field would say it
    exit_code = 3


WRONG_FIELDS = 5


def wrong_fields(error: ValidationError) -> str:
    """The problems that pydantic found, as `key: what is wrong`, the first five, for one line of a message."""
    found = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return "; ".join(found[:WRONG_FIELDS]) + (f"; {rest} more" if (rest := len(found) - WRONG_FIELDS) > 0 else "")
