"""Room for the job is asked for before work, with figures and a way out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from calibration import run as calibration_run
from calibration import statistics
from calibration.params import CalibrateParams
from core.errors import ResourceError
from models import families, preflight
from models.params import Recipe
from models.preflight import GIB
from tests.models import made
from tests.models.test_families import R1_QWEN

RECIPES = {
    name: Recipe.model_construct(quantizer=quantizer, runtime="ort", options={})
    for name, quantizer in {"fp32": "none", "fp16": "half", "int8": "weight_only", "w8a8": "static_int8"}.items()
}


@pytest.fixture
def r1() -> families.Architecture:
    return families.parse(R1_QWEN, {}, "model")


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 1 TiB of everything."""
    _disk(monkeypatch, 1024 * GIB)
    monkeypatch.setattr(preflight, "available_memory_bytes", lambda: 1024 * GIB)


def _disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=free, used=0, free=free))


def test_estimate_grows_with_the_model_and_each_recipe(r1: families.Architecture) -> None:
    small = preflight.estimate(r1, {"fp32": RECIPES["fp32"]})
    everything = preflight.estimate(r1, RECIPES)
    double = preflight.estimate(r1.model_copy(update={"parameters": 2 * r1.parameters}), RECIPES)
    assert small.disk_bytes < everything.disk_bytes < double.disk_bytes
    assert everything.peak.memory_bytes < double.peak.memory_bytes
    # At the least: the bf16 source, two fp32 graphs and the fp32 variant, each also in DVC's cache.
    assert small.disk_bytes >= 2 * (2 + 4 + 4 + 4) * r1.parameters
    # Measured: half holds 4.9 times the fp32 weights, export 3.1 times.
    assert everything.peak.name == "fp16"
    assert everything.peak.memory_bytes >= 4.9 * 4 * r1.parameters
    assert small.peak.name == "export"
    assert small.peak.memory_bytes >= 3.1 * 4 * r1.parameters


@pytest.mark.usefixtures("roomy")
def test_enough_room_passes_and_gives_the_estimate(r1: families.Architecture, tmp_path: Path) -> None:
    assert preflight.check(r1, RECIPES, tmp_path / "not" / "there" / "yet") == preflight.estimate(r1, RECIPES)


@pytest.mark.usefixtures("roomy")
def test_too_little_disk_says_how_much_and_what_to_do(
    r1: families.Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _disk(monkeypatch, 10 * GIB)
    need = preflight.estimate(r1, RECIPES).disk_bytes / GIB
    with pytest.raises(ResourceError) as caught:
        preflight.check(r1, RECIPES, Path("artifacts"))
    assert str(caught.value) == (
        f"a run of fp32, fp16, int8, w8a8 needs about {need:.1f} GiB in artifacts, its disk has 10.0 GiB free: "
        "make room, run fewer recipes, or set ASSAY_SKIP_RESOURCE_CHECK=1 to try anyway"
    )


@pytest.mark.usefixtures("roomy")
def test_too_little_memory_says_how_much_and_what_to_do(
    r1: families.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "available_memory_bytes", lambda: 4 * GIB)
    need = preflight.estimate(r1, RECIPES).peak.memory_bytes / GIB
    with pytest.raises(ResourceError) as caught:
        preflight.check(r1, RECIPES, tmp_path)
    assert str(caught.value) == (
        f"fp16 needs about {need:.1f} GiB of memory for this model, 4.0 GiB is available: leave that recipe out, "
        "use a larger machine, or set ASSAY_SKIP_RESOURCE_CHECK=1 to try anyway"
    )


@pytest.mark.usefixtures("roomy")
def test_a_model_that_is_too_large_for_any_recipe_is_said_to_be(
    r1: families.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "available_memory_bytes", lambda: 4 * GIB)
    with pytest.raises(ResourceError, match=r"^export needs about .* of memory .*: take a smaller model, use"):
        preflight.check(r1, {"fp32": RECIPES["fp32"]}, tmp_path)


def test_the_samples_are_those_of_the_file_that_calibrate_writes(tiny_qwen2: Path, tmp_path: Path) -> None:
    asked, kept = CalibrateParams(prefill_items=8, decode_items=8, decode_steps=16, sample_rows=64), tmp_path / "kept"
    tensors = calibration_run.run(tiny_qwen2, made.items(tiny_qwen2, 16), asked, made.THREADS, 0, kept)
    statistics.save(tmp_path / statistics.FILE, tensors)
    steps = {step.name: step for step in preflight.estimate(families.read(tiny_qwen2), {}, asked.sample_rows).steps}
    written = (tmp_path / statistics.FILE).stat().st_size  # with the highest, lowest and sum of each channel
    assert steps["calibrate"].disk_bytes == pytest.approx(2 * written, rel=0.1)


def test_the_override_is_explicit_and_said(
    r1: families.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _disk(monkeypatch, 0)
    monkeypatch.setattr(preflight, "available_memory_bytes", lambda: 0)
    monkeypatch.setenv(preflight.SKIP, "yes")  # only "1" counts
    with pytest.raises(ResourceError):
        preflight.check(r1, RECIPES, tmp_path)
    monkeypatch.setenv(preflight.SKIP, "1")
    preflight.check(r1, RECIPES, tmp_path)
    warnings = capsys.readouterr().err
    assert "of disk space needed, 0.0 MiB available; continuing because ASSAY_SKIP_RESOURCE_CHECK=1" in warnings
    assert "of memory needed" in warnings


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real disk of 1 MiB where this user may mount one, else a folder that says it is one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount: list[Any] = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield folder
        subprocess.run(["umount", folder], check=True)
    else:
        _disk(monkeypatch, 2**20)
        yield folder


def test_a_small_disk_is_seen(small_disk: Path) -> None:
    preflight.check_disk(2**19, small_disk / "model", "this")
    with pytest.raises(
        ResourceError, match=r"this needs about 2\.0 MiB in .*/disk/model, its disk has 1\.0 MiB free"
    ):
        preflight.check_disk(2**21, small_disk / "model", "this")
