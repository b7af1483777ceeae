"""onnxruntime-genai on an NVIDIA GPU: the same engine code as `ort`, with the CUDA wheels.

A graph built with CUDA graphs runs one stream at a time; one built with paged attention runs through `og.Engine`.
Needs onnxruntime-gpu and onnxruntime-genai-cuda in place of the CPU wheels (they share their module names).
"""

from __future__ import annotations

from pathlib import Path

from host import gpu, interpreter
from runtimes import Engine, Runtime, _ort_settings, _through_engine, ort

REQUIREMENTS = ("onnxruntime-gpu", "onnxruntime-genai-cuda")  # what a registered version needs to run
ENVIRONMENT = interpreter.GPU
PAGED_BATCH = 128


def available() -> str | None:
    """Why it cannot run on this machine; None if it can."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "onnxruntime has no CUDA provider here: `make setup-gpu` on a machine with an NVIDIA GPU"
    return gpu.why_no_gpu()


def load(folder: Path, threads: int) -> Runtime:
    """Load a version's folder for one batch at a time."""
    _libraries()
    if is_paged(folder):
        return _through_engine.ThroughEngine(engine(folder, threads, PAGED_BATCH))
    return ort.load(folder, threads)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The same model for serving."""
    _libraries()
    return ort.engine(folder, threads, max_batch)


def is_paged(folder: Path) -> bool:
    """Whether the graph was built with paged attention, so that requests join a running batch."""
    return "dynamic_batching" in _ort_settings.read(folder).get("engine", {})


def _libraries() -> None:
    """CUDA and cuDNN from their wheels, where the system has none on its library path."""
    import onnxruntime

    onnxruntime.preload_dlls()
