"""On what a figure was measured, as every record of figures says it."""

from __future__ import annotations

from core.records import Record


class Machine(Record):
    cpu: str
    cores: int
    memory_mib: float
    accelerator: str | None
    threads: int
    versions: dict[str, str]
