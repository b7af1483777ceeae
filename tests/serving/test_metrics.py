"""What NVML does not tell costs no request and no scrape. Without a GPU: NVML is scripted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from serving import metrics
from serving.metrics import GpuReading, Metrics, gpu_memory_used_bytes, gpu_readings


def untold(device: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, of which the second one was cut into MIG slices."""
    monkeypatch.setattr(metrics, "_nvml_started", lambda: True)
    metrics._read_gpus.cache_clear()
    used = {"nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=1024)}
    whole = {"nvmlDeviceGetUtilizationRates": lambda device: untold(device) if device else SimpleNamespace(gpu=50)}
    known = {"nvmlDeviceGetCount": lambda: 2, "nvmlDeviceGetHandleByIndex": lambda index: index}
    for name, answer in (used | whole | known).items():
        monkeypatch.setattr(pynvml, name, answer)


@pytest.mark.usefixtures("slices")
def test_a_mig_slice_has_memory_but_no_utilisation() -> None:
    assert gpu_readings() == [GpuReading(0.5, 1024), GpuReading(None, 1024)]
    assert gpu_memory_used_bytes() == 2048
    told = Metrics("d", "blue").text(lambda: 0).decode()
    assert 'assay_gpu_utilisation_ratio{digest="d",gpu="0",slot="blue"} 0.5' in told
    assert 'assay_gpu_utilisation_ratio{digest="d",gpu="1"' not in told
    assert 'assay_gpu_memory_used_bytes{digest="d",gpu="1",slot="blue"} 1024.0' in told


@pytest.mark.usefixtures("slices")
def test_a_lost_gpu_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", untold)
    assert gpu_readings() == [GpuReading(None, None)] * 2
    assert gpu_memory_used_bytes() is None
