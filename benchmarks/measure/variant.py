"""One variant against the baseline, interleaved in one run, as a `records.Benchmark`.

Finished workloads are kept in .cache/assay/benchmark: a killed run repeats at most the one that it was in.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

import runtimes
from benchmarks.measure import baseline, figures
from benchmarks.measure.rounds import Prompts, interleave, short_requests
from benchmarks.measure.side import OutOfMemory, Side, Spec
from benchmarks.params import BenchmarkParams
from benchmarks.records import Benchmark, Workload
from core import files, paths, plugins, progress
from core.errors import VERSION_FAULTS, DataError, one_line
from core.records import Record
from host import description
from host.records import Machine
from models import manifest

BASELINE = "Hugging Face generate, float32"


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


class Pair:
    """The variant's and the baseline's worker: started when first needed, restarted after one ran out of memory."""

    def __init__(self, variant: Spec, original: Spec) -> None:
        self._specs = (variant, original)
        self._sides: list[Side] = []
        self.load_ms: list[float] = []

    def sides(self) -> list[Side]:
        """Both sides, loaded one after the other so that neither slows the other's load."""
        if not self._sides:
            for spec in self._specs:
                self._sides.append(Side(spec))
            self.load_ms.append(self._sides[0].load_ms)
        return self._sides

    def close(self) -> None:
        """End both processes; `sides` would start them again."""
        while self._sides:
            self._sides.pop().close()

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def measure(
    name: str,
    runtime: str,
    variant_folder: Path,
    model_folder: Path,
    prompts: Prompts,
    params: BenchmarkParams,
    threads: int,
    *,
    strict: bool = False,
) -> Benchmark:
    """Measure variant `name` in `variant_folder` on `runtime` against the original model in `model_folder`.

    `prompts` are token ids. A runtime that cannot run here gives status "not_measured_here" with its reason. A batch
    that runs out of memory is halved until it fits, and `notes` says so. Where a worker fails in another way, one
    request does not fit, or quantize failed, the status is "failed" with the reason; the first two raise RuntimeFault
    if `strict`. Raises IntegrityError for files that changed.
    """
    start = time.perf_counter()
    if not prompts:
        raise DataError("the benchmark split is empty: set data.benchmark_items and run the prepare stage")
    here = description.describe(threads)
    done: list[KeptWorkload] = []
    notes: list[str] = []
    reason: str | None = None
    status: Literal["measured", "not_measured_here", "failed"] = "measured"
    if failure := manifest.failure(variant_folder):
        status, reason, manifest_sha256 = "failed", failure.reason, manifest.NO_VERSION
    else:
        manifest.verify(variant_folder)
        manifest_sha256 = manifest.digest(variant_folder)
        if reason := runtimes.why_not_here(runtime):
            status = "not_measured_here"
    if status == "measured":
        plugin = plugins.load("runtimes", runtime)
        variant = Spec.of(name, plugin, variant_folder, threads)
        original = Spec.of("baseline", baseline, model_folder, threads, dtype="float32")
        kept = Kept(manifest_sha256, here, runtime, params.model_dump_json(), repr([list(ids) for ids in prompts]))
        try:
            with description.Others() as others:
                done, notes = workloads(variant, original, kept, prompts, params)
            notes += [note] if (note := others.note()) else []
            kept.clear()
        except VERSION_FAULTS as error:
            if strict:
                raise
            status, reason = "failed", f"benchmark failed: {one_line(error)}"
    load_ms = [value for item in done for value in item.load_ms]
    return Benchmark(
        variant=name,
        manifest_sha256=manifest_sha256,
        runtime=runtime,
        baseline=BASELINE,
        status=status,
        why_not_measured=reason,
        machine=here,
        workloads=[item.workload for item in done if item.workload],
        load_ms=figures.spread(load_ms) if load_ms else None,
        artifact_mib=files.folder_bytes(variant_folder) / 2**20,
        peak_rss_mib=max((item.peak_rss_mib for item in done), default=None),
        baseline_peak_rss_mib=max((item.baseline_peak_rss_mib for item in done), default=None),
        wall_s=time.perf_counter() - start,
        notes=notes,
    )


def workloads(
    variant: Spec, original: Spec, kept: Kept, prompts: Prompts, params: BenchmarkParams
) -> tuple[list[KeptWorkload], list[str]]:
    """Every batch of params, from what a killed run left or measured now; with the notes that a reader needs."""
    done: list[KeptWorkload] = []
    notes: list[str] = []
    with Pair(variant, original) as pair:
        for batch in params.batches:
            earlier = kept.read(batch)
            if earlier:
                notes.append(f"batch {batch}: kept from an earlier run that did not finish")
            else:
                measured = {item.workload.batch for item in done if item.workload}
                kept.write(_fitting(pair, batch, measured, prompts, params))
            item = earlier or kept.read(batch)
            assert item is not None  # written just above
            done.append(item)
            notes.extend([item.note] if item.note else [])
    return done, notes


def _fitting(pair: Pair, batch: int, measured: set[int], prompts: Prompts, params: BenchmarkParams) -> KeptWorkload:
    """The workload at `batch`, or at the largest halving of it that fits in memory (none if that one is measured)."""
    size, note = batch, None
    loads_before = len(pair.load_ms)
    while True:
        sides = pair.sides()
        workload = None
        if size not in measured:
            try:
                rounds = (params.rounds, params.warmup_rounds)
                answers = interleave(sides, prompts, size, params.output_tokens, *rounds)
                workload = figures.workload(*answers, *short_requests(sides, prompts, size, params.rounds))
            except OutOfMemory as error:
                pair.close()
                if size == 1:
                    raise
                size //= 2
                note = f"batch {batch}: out of memory, lowered to {size}"
                progress.say(f"{note}. {error}")
                continue
        return KeptWorkload(
            batch_asked=batch,
            workload=workload,
            load_ms=pair.load_ms[loads_before:],
            peak_rss_mib=sides[0].peak_rss_mib,
            baseline_peak_rss_mib=sides[1].peak_rss_mib,
            note=note,
        )
