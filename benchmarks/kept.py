"""Finished workloads of an unfinished benchmark, so that a killed run repeats at most the one it was in."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.records import Workload
from core import files, paths
from core.records import Record
from host.records import Machine


class KeptWorkload(Record):
    """One finished workload and what its processes had shown by then. `workload` is None where nothing fitted."""

    batch_asked: int
    workload: Workload | None
    load_ms: list[float]
    peak_rss_mib: float
    baseline_peak_rss_mib: float
    note: str | None = None


class Kept:
    """A folder of kept workloads, named by everything that decides their figures, the machine included."""

    def __init__(self, manifest_sha256: str, machine: Machine, *decisive: str) -> None:
        key = files.sha256_bytes("\n".join([machine.model_dump_json(), *decisive]).encode())[:16]
        self.folder: Path = paths.CACHE / "benchmark" / manifest_sha256 / key

    def read(self, batch: int) -> KeptWorkload | None:
        """The kept workload asked for as `batch`, or None."""
        path = self.folder / f"{batch}.json"
        return KeptWorkload.read(path) if path.exists() else None

    def write(self, kept: KeptWorkload) -> None:
        """Keep a finished workload (atomic)."""
        kept.save(self.folder / f"{kept.batch_asked}.json")

    def clear(self) -> None:
        """The benchmark is finished: a later run measures everything again."""
        shutil.rmtree(self.folder, ignore_errors=True)
