"""Is there room for the job? Asked before the first byte is downloaded, not found out three hours later.

Estimates come from the architecture and from what each recipe's quantizer says that it costs. The figures here were
measured (ru_maxrss) and rounded up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import quantizers
from core.errors import ResourceError
from core.progress import say
from core.records import Record
from host.memory import available_memory_bytes
from models.families import Architecture
from models.params import Recipe

SKIP = "ASSAY_SKIP_RESOURCE_CHECK"
GIB = 2**30
FP32_BYTES = 4
# Bytes on disk for a parameter of the source; config.json's dtype, else float32.
SOURCE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
EXPORTED_GRAPHS = 2  # fused and standard, both in fp32
# DVC keeps a copy of every output in its cache, unless the file system can share blocks.
DVC_COPIES = 2
# Memory, as a multiple of the weights in fp32. Measured: export 3.1 on SmolLM2-135M, calibrate 1.1 on a random Qwen2.
EXPORT_PEAK = 3.2
CALIBRATE_PEAK = 1.2
BASE_MEMORY_BYTES = 1 * GIB  # Python with torch, onnxruntime and transformers loaded: 0.7 GiB
SAMPLE_ROWS = 1024  # the default of calibrate.sample_rows
PHASES = 2  # of the calibration, each with rows of its own: prefill and decode


class Step(Record):
    """What one stage takes, or one recipe of `quantize`. Disk is with DVC's copy."""

    name: str
    memory_bytes: int
    disk_bytes: int


class Estimate(Record):
    """What one run takes: every step's disk together, and the memory of the one that takes the most."""

    steps: tuple[Step, ...]

    @property
    def disk_bytes(self) -> int:
        return sum(step.disk_bytes for step in self.steps)

    @property
    def peak(self) -> Step:
        return max(self.steps, key=lambda step: step.memory_bytes)


def estimate(architecture: Architecture, recipes: Mapping[str, Recipe], sample_rows: int = SAMPLE_ROWS) -> Estimate:
    """Disk and memory of prepare, export, calibrate and each recipe, in that order.

    `sample_rows` are those that calibrate keeps of every matmul input, in fp32.
    """
    a, weights = architecture, FP32_BYTES * architecture.parameters
    inputs = a.layers * (2 * a.hidden + a.heads * a.head_dim + a.ffn) + a.hidden
    samples = PHASES * sample_rows * inputs * FP32_BYTES

    def step(name: str, memory_bytes: float, disk_bytes: float) -> Step:
        return Step(
            name=name,
            memory_bytes=int(BASE_MEMORY_BYTES + memory_bytes),
            disk_bytes=int(DVC_COPIES * disk_bytes),
        )

    costs = {name: quantizers.traits(recipe) for name, recipe in recipes.items()}
    return Estimate(
        steps=(
            step("prepare", 0, SOURCE_BYTES.get(a.dtype, FP32_BYTES) * a.parameters),  # weights are read by the block
            step("export", EXPORT_PEAK * weights, EXPORTED_GRAPHS * weights),
            step("calibrate", CALIBRATE_PEAK * weights + samples, samples),
            *(
                step(name, cost.peak_of_fp32_weights * weights, cost.bytes_per_parameter * a.parameters)
                for name, cost in costs.items()
            ),
        )
    )


def check(
    architecture: Architecture, recipes: Mapping[str, Recipe], disk_folder: Path, sample_rows: int = SAMPLE_ROWS
) -> Estimate:
    """Raise ResourceError if `disk_folder`'s disk or the machine's memory is too small; returns the estimate."""
    need = estimate(architecture, recipes, sample_rows)
    check_disk(need.disk_bytes, disk_folder, f"a run of {', '.join(recipes)}")
    have, peak = available_memory_bytes(), need.peak
    if peak.memory_bytes > have and not _skipped("memory", peak.memory_bytes, have):
        advice = "leave that recipe out" if peak.name in recipes else "take a smaller model"
        raise ResourceError(
            f"{peak.name} needs about {_gib(peak.memory_bytes)} of memory for this model, {_gib(have)} is "
            f"available: {advice}, use a larger machine, or set {SKIP}=1 to try anyway"
        )
    return need


def check_disk(need_bytes: int, folder: Path, what: str) -> None:
    """Raise ResourceError if the disk of `folder` (which need not exist yet) has less than `need_bytes` free."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    have = shutil.disk_usage(existing).free
    if need_bytes > have and not _skipped("disk space", need_bytes, have):
        raise ResourceError(
            f"{what} needs about {_gib(need_bytes)} in {folder}, its disk has {_gib(have)} free: make room, run "
            f"fewer recipes, or set {SKIP}=1 to try anyway"
        )


def _skipped(what: str, need: int, have: int) -> bool:
    if os.environ.get(SKIP) != "1":
        return False
    say(f"warning: about {_gib(need)} of {what} needed, {_gib(have)} available; continuing because {SKIP}=1")
    return True


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
