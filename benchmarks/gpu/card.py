"""Facts about the card and about what a decode step must read from its memory."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from export import fused

COPY_BYTES = 2**32
# Memory bandwidth in bytes per second by the vendor's datasheet, by whole words of the name that the driver gives: an
# L40 is no L4, and a GH200 no H200. The first that fits counts.
BANDWIDTH = {
    "H200": 4.8e12,
    "H100 80GB HBM3": 3.35e12,
    "H100 PCIe": 2.0e12,
    "A100-SXM4-80GB": 2.039e12,
    "A100 80GB PCIe": 1.935e12,
    "A100": 1.555e12,
    "L40S": 0.864e12,
    "A10": 0.6e12,
    "A10G": 0.6e12,
    "L4": 0.3e12,
    "T4": 0.32e12,
}
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def slug(accelerator: str) -> str:
    """A card's name for a file: `NVIDIA H200, driver 580` becomes `h200`."""
    name = accelerator.split(",")[0].removeprefix("NVIDIA ").lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def result(accelerator: str, kind: str = "") -> Path:
    """The file that keeps a card's figures of one kind: speed, or `-drift`."""
    return Path(f"benchmarks/results/gpu/gpu-{slug(accelerator)}{kind}.json")


def bandwidth_bytes_s(accelerator: str) -> float | None:
    """The datasheet's memory bandwidth; None for a card that is not listed."""
    return next((value for part, value in BANDWIDTH.items() if re.search(rf"\b{part}\b", accelerator)), None)


def copy_bytes_s() -> float:
    """Bytes read and written per second by a device-to-device copy, the median of ten."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_copy).result()  # in a process of its own: a CUDA context takes half a GiB


def _copy() -> float:
    import torch

    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    times_ms = []
    for _ in range(13):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times_ms.append(start.elapsed_time(end))
    return float(2 * COPY_BYTES / (sorted(times_ms[3:])[5] / 1000))


def memory_mib(pid: int) -> float | None:
    """GPU memory of a process and its children by NVML; None where the driver does not tell."""
    import psutil
    import pynvml

    family = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    used = 0
    pynvml.nvmlInit()
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device):
                if process.pid in family and process.usedGpuMemory:
                    used += process.usedGpuMemory
    finally:
        pynvml.nvmlShutdown()
    return used / 2**20 if used else None


def read_bytes(folder: Path, vocabulary: int, hidden: int, options: Mapping[str, str]) -> int:
    """Bytes of the weights that one decode step reads: all but the embedding, of which it reads a row.

    Hugging Face may compute in another dtype than the file's; onnxruntime's graphs hold the embedding in 16 bits.
    """
    graph = folder / fused.GRAPH_DATA
    if graph.exists():
        return graph.stat().st_size - 2 * vocabulary * hidden
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        total += sum(size for name, size in _tensors(file) if "embed_tokens" not in name)
    return total * DTYPE_BYTES[options["dtype"]] // 2 if "dtype" in options else total


def _tensors(file: Path) -> list[tuple[str, int]]:
    """Name and bytes of every tensor of a safetensors file, from its header alone."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return [
        (name, entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    ]
