"""The one error tree. Everything a user can cause derives from AssayError.

    AssayError
    ├── ConfigError                  params.yaml or a command line is wrong
    ├── SourceError                  the model cannot be fetched or read
    │   └── UnsupportedModelError    it is readable, but not a family that works here
    ├── IntegrityError               files do not match their manifest
    ├── ResourceError                not enough disk or memory, or a program that is missing or does not start
    ├── DataError                    a data set or a record is wrong or missing
    ├── ExportError                  the graph does not compute what torch computes
    ├── QuantizationError            a recipe did not do what it promised
    ├── EngineError                  TensorRT could not make an engine of a graph
    ├── RuntimeFault                 an inference runtime failed
    │   ├── RequestError             an engine cannot take this request; the others are not concerned
    │   └── OutOfMemory              a benchmark's worker could not get memory (benchmarks/measure/side.py)
    ├── RegistryError                MLflow could not be read or written
    ├── RolloutError                 a rollout may not start, or its record does not hold together
    │   ├── AlreadyLiveError         the version to roll out is live already (rollout/planning.py)
    │   ├── PipelineError            a pipeline could not be triggered (approval/standing.py)
    │   └── TargetError              a slot, the gateway or the cluster did not do what it was asked, or in time
    │       ├── Conflict             another client wrote the object meanwhile (rollout/targets/cluster/api.py)
    │       └── Gone                 events since that version are no longer kept (rollout/targets/cluster/api.py)
    ├── SignatureError               a webhook's message is not from MLflow, or too old (approval/webhook.py)
    ├── PayloadError                 a webhook's message is signed, but not what MLflow sends (approval/webhook.py)
    └── NoVariantPassed              every variant was stopped by a gate

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
    """params.yaml, a setting or a command line is wrong: the user mends it and runs the same command again."""

    exit_code = 2


class SourceError(AssayError):
    """The model cannot be fetched or read."""


class UnsupportedModelError(SourceError):
    """The model is readable, but its architecture is not one that works here."""


class IntegrityError(AssayError):
    """Files do not match their manifest: they changed since they were made."""


class ResourceError(AssayError):
    """Not enough disk or memory, or a program that is missing or does not start."""


class DataError(AssayError):
    """A data set or a record is wrong or missing."""


class ExportError(AssayError):
    """The exported graph does not compute what torch computes."""


class QuantizationError(AssayError):
    """A recipe did not do what it promised."""


class EngineError(AssayError):
    """TensorRT could not make an engine of a graph."""


class RuntimeFault(AssayError):  # noqa: N818 - RuntimeError is Python's own
    """An inference runtime failed while it loaded or answered."""


class RequestError(RuntimeFault):
    """A runtime cannot take this one request (a token id, a length); it goes on with the others."""


class RegistryError(AssayError):
    """MLflow could not be read or written."""


class RolloutError(AssayError):
    """A rollout may not start, or its record does not hold together."""


class TargetError(RolloutError):
    """A slot, the gateway or the cluster did not do what it was asked, or not in time."""


class NoVariantPassed(AssayError):  # noqa: N818 - an outcome, named as the field would say it
    """Every variant was stopped by a gate: the run is complete, and there is nothing to register."""

    exit_code = 3


# What a version, once it is made, may do while it is compiled or measured: its recipe has failed, the others go on.
VERSION_FAULTS = (EngineError, ResourceError, RuntimeFault, MemoryError)
WRONG_FIELDS = 5


def one_line(error: BaseException) -> str:
    """The error's kind and message, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said or 'not enough memory on this machine'}"


def wrong_fields(error: ValidationError) -> str:
    """The problems that pydantic found, as `key: what is wrong`, the first five, for one line of a message."""
    found = []
    for item in error.errors():
        key, what = ".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")
        found.append(" ".join((f"{key}: {what}" if key else what).split()))
    return "; ".join(found[:WRONG_FIELDS]) + (f"; {rest} more" if (rest := len(found) - WRONG_FIELDS) > 0 else "")
