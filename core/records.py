"""What every record is, and the words that several of them use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from core import files
from core.errors import DataError, wrong_fields

Verdict = Literal["pass", "fail", "inconclusive"]
VariantName = str


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """`fail` if any failed, `pass` if there is at least one and all passed, else `inconclusive`."""
    found = set(verdicts)
    return "fail" if "fail" in found else "pass" if found == {"pass"} else "inconclusive"


class Record(BaseModel):
    """A file that one stage writes and another reads: JSON, atomic, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def save(self, path: Path) -> None:
        files.write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise DataError(f"{path} not found: run the stage that writes it (`dvc repro`)") from None
        except ValidationError as error:
            raise DataError(f"{path} is not a {cls.__name__}: {wrong_fields(error)}") from error
        except ValueError as error:  # not UTF-8
            raise DataError(f"{path} is not a {cls.__name__}: {error}") from error

    @classmethod
    def read_if_exists(cls, path: Path) -> Self | None:
        """The record, or None where no stage has written it."""
        return cls.read(path) if path.exists() else None


class Interval(Record):
    """An estimate with its uncertainty and the count it rests on."""

    value: float
    low: float
    high: float
    level: float
    count: int
