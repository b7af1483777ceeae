"""Is there room for the job? Asked before the first byte is downloaded, not found out three hours later.

Estimates come from the architecture and from what each recipe's quantizer says that it costs. The figures here were
measured on a random Qwen2 of 178 million parameters (ru_maxrss) and rounded up.
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
EXPORT_PEAK = 1.2  # memory of export and calibrate, as a multiple of the weights in fp32; measured: 1.1
BASE_MEMORY_BYTES = 1 * GIB  # Python with torch, onnxruntime and transformers loaded: 0.7 GiB


class Estimate(Record):
    """What one run takes at its peak."""

    disk_bytes: int
    memory_bytes: int
    memory_step: str  # "export" or the recipe that takes the most


def estimate(architecture: Architecture, recipes: Mapping[str, Recipe]) -> Estimate:
    """Disk and memory that the stages need for this model and these recipes."""
    per_parameter = float(SOURCE_BYTES.get(architecture.dtype, FP32_BYTES) + EXPORTED_GRAPHS * FP32_BYTES)
    costs = {name: quantizers.traits(recipe) for name, recipe in recipes.items()}
    per_parameter += sum(cost.bytes_per_parameter for cost in costs.values())
    peaks = {name: cost.peak_of_fp32_weights for name, cost in costs.items()} | {"export": EXPORT_PEAK}
    step = max(peaks, key=lambda name: peaks[name])
    return Estimate(
        disk_bytes=int(DVC_COPIES * per_parameter * architecture.parameters),
        memory_bytes=int(BASE_MEMORY_BYTES + peaks[step] * FP32_BYTES * architecture.parameters),
        memory_step=step,
    )


def check(architecture: Architecture, recipes: Mapping[str, Recipe], disk_folder: Path) -> Estimate:
    """Raise ResourceError if `disk_folder`'s disk or the machine's memory is too small; returns the estimate."""
    need = estimate(architecture, recipes)
    check_disk(need.disk_bytes, disk_folder, f"a run of {', '.join(recipes)}")
    have = available_memory_bytes()
    if need.memory_bytes > have and not _skipped("memory", need.memory_bytes, have):
        advice = "take a smaller model" if need.memory_step == "export" else "leave that recipe out"
        raise ResourceError(
            f"{need.memory_step} needs about {_gib(need.memory_bytes)} of memory for this model, {_gib(have)} is "
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
