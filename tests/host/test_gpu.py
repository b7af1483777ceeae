"""What is told of the first GPU, with a driver that is not there, that has no GPU, or one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from host import gpu


class Driver:
    """Stands for libnvidia-ml with `gpus` GPUs; `open` counts the sessions that nobody has ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
        self.open = 0
        answers: dict[str, Any] = {
            "nvmlInit": self._init,
            "nvmlShutdown": self._shut_down,
            "nvmlDeviceGetCount": lambda: gpus,
            "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
            "nvmlDeviceGetName": lambda handle: {"handle 0": "NVIDIA L4"}[handle],
            "nvmlDeviceGetCudaComputeCapability": lambda handle: (8, 9),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=23034 * 2**20),
            "nvmlSystemGetDriverVersion": lambda: "580.95.05",
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, answer)

    def _init(self) -> None:
        self.open += 1

    def _shut_down(self) -> None:
        self.open -= 1


def test_the_first_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, gpus=2)
    assert gpu.card() == gpu.Card("NVIDIA L4", "8.9", 23034)
    assert gpu.name_and_driver() == "NVIDIA L4, driver 580.95.05"
    assert gpu.why_no_gpu() is None
    assert driver.open == 0


def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, gpus=0)
    assert (gpu.card(), gpu.name_and_driver(), gpu.why_no_gpu()) == (None, None, "no NVIDIA GPU")
    assert driver.open == 0


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert gpu.card() is None
    assert gpu.name_and_driver() is None
    assert str(gpu.why_no_gpu()).startswith("no NVIDIA driver (")
