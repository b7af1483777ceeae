"""Any runtime, as the GPU benchmark's worker loads it: on closing it writes where the time of a step goes."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from core import files
from runtimes import Generation, Runtime

TOKENS = 32
KERNELS = 12


def load(folder: Path, threads: int, module: str, profile: str = "", **options: str) -> ProfiledRuntime:
    """`module.load(folder, threads, **options)`; `profile` names the file to write on closing, none if empty."""
    # As `vllm serve` runs it: scheduler and GPU in a process of their own. A profiler sees its own process only.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if profile else "1"
    runtime: Runtime = importlib.import_module(module).load(folder, threads, **options)
    return ProfiledRuntime(runtime, Path(profile) if profile else None)


class ProfiledRuntime:
    """Passes everything on; keeps one prompt for the profile."""

    def __init__(self, runtime: Runtime, profile: Path | None) -> None:
        self.name, self.version = runtime.name, runtime.version
        self._runtime, self._profile = runtime, profile
        self._prompt: Any = None

    def generate(self, prompts: Any, max_tokens: int, **how: Any) -> list[Generation]:
        """See runtimes.Runtime."""
        self._prompt = prompts[0]
        return self._runtime.generate(prompts, max_tokens, **how)

    def close(self) -> None:
        """Profile single-stream decoding, then free the model."""
        if self._profile and self._prompt is not None:
            files.write_text(self._profile, json.dumps(self._profiled(), indent=2) + "\n")
        self._runtime.close()

    def _profiled(self) -> dict[str, object]:
        """GPU time by kernel over one answer to one request: how long the card was busy, and with what."""
        import torch
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        self._runtime.generate([self._prompt], TOKENS, ignore_eos=True)
        begun = time.perf_counter()
        self._runtime.generate([self._prompt], TOKENS, ignore_eos=True)
        wall_ms = (time.perf_counter() - begun) * 1000
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            self._runtime.generate([self._prompt], TOKENS, ignore_eos=True)
            torch.cuda.synchronize()
        kernels = [event for event in seen.key_averages() if event.device_type == DeviceType.CUDA]
        kernels.sort(key=lambda event: -event.self_device_time_total)
        busy_ms = sum(event.self_device_time_total for event in kernels) / 1000
        return {
            "tokens": TOKENS,
            "wall_ms": round(wall_ms, 2),  # without the profiler, which slows the host
            "gpu_busy_ms": round(busy_ms, 2),
            "kernels_launched": sum(event.count for event in kernels),
            "kernels": [
                {
                    "name": event.key[:120],
                    "calls": event.count,
                    "ms": round(event.self_device_time_total / 1000, 3),
                    "share": round(event.self_device_time_total / 1000 / busy_ms, 3),
                }
                for event in kernels[:KERNELS]
            ],
        }
