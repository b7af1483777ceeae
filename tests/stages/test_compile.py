"""The stage that compiles engines: what it writes and refuses; and a variant that cannot run here never passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import runtimes
from benchmarks.measure import variant
from benchmarks.params import BenchmarkParams
from core import paths
from core.errors import ConfigError
from host import gpu
from models import manifest
from pipelines import params
from quantizers import Context
from selection import gates
from selection.gates import Evidence
from stages import compile as stage
from tests.models import made
from trt.records import Compilation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(workshop: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as `quantize` leaves it, with targets that compile, that do not fit and that are not supported."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["compile"] |= {"prefill_tokens": 64, "context_tokens": 200}
    raw["compile"]["targets"] = {
        "l4": {"compute_capability": "8.9", "memory_mib": 23034},
        "tiny": {"compute_capability": "8.9", "memory_mib": 100},
        "h100": {"compute_capability": "9.0", "memory_mib": 81559},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "card", lambda: None)
    settings = params.load()
    shutil.copytree(workshop.model_folder, paths.MODEL)
    for name in ("fp32", "trt-int8"):
        made.variant(name, settings.recipe(name), workshop, paths.VARIANTS / name)
    return tmp_path


def _run(monkeypatch: pytest.MonkeyPatch, recipe: str) -> None:
    monkeypatch.setattr("sys.argv", ["compile", recipe])
    stage.main()


def test_every_target_is_in_the_record_and_those_that_compiled_are_versions(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, "trt-int8")
    folder = paths.ENGINES / "trt-int8"
    record = Compilation.read(folder / stage.RECORD)
    assert record.made_from == manifest.digest(paths.VARIANTS / "trt-int8")
    assert {one.target: one.status for one in record.engines} == {
        "l4": "compiled",
        "tiny": "refused",
        "h100": "not_compiled_here",
    }
    assert sorted(path.name for path in folder.iterdir()) == [stage.RECORD, "l4"]
    assert manifest.digest(folder / "l4") == record.engines[0].manifest_sha256
    told = capsys.readouterr().err
    assert "trt-int8 for l4" in told
    assert "trt-int8 for tiny: refused: does not fit" in told
    assert "trt-int8 for h100: not compiled here" in told


def test_a_recipe_that_needs_no_engines_says_so_and_loads_nothing_heavy(root: Path) -> None:
    code = "import sys; from stages import compile; compile.main(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "fp32"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "compile: fp32 needs no engines\n"
    assert not {"torch", "onnx", "onnxruntime", "tensorrt_rtx", "transformers"} & set(done.stdout.split())
    record = Compilation.read(paths.ENGINES / "fp32" / stage.RECORD)
    assert (record.made_from, record.engines) == (manifest.digest(paths.VARIANTS / "fp32"), [])


def test_a_context_beyond_the_models_positions_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw["compile"]["context_tokens"] = 1024
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(ConfigError, match="context_tokens is 1024, the model ends at 512 positions"):
        _run(monkeypatch, "trt-int8")


def test_a_variant_that_cannot_run_here_is_listed_and_never_passes(root: Path) -> None:
    folder = paths.VARIANTS / "trt-int8"
    assert runtimes.why_not_here(manifest.verify(folder).runtime) == "no NVIDIA GPU on this machine"
    settings = BenchmarkParams(batches=[1], output_tokens=4, rounds=3)
    record = variant.measure("trt-int8", "tensorrt", folder, paths.MODEL, [[9, 8, 7]], settings, threads=2)
    assert (record.status, record.why_not_measured) == ("not_measured_here", "no NVIDIA GPU on this machine")
    evidence = Evidence("trt-int8", "tensorrt", manifest.digest(folder), None, None, record)
    judged = gates.judge([evidence], params.load().select)["trt-int8"]
    assert {gate.gate: gate.verdict for gate in judged if gate.gate != "integrity"} == dict.fromkeys(
        ("drift", "benchmark", "ttft_p95", "itl_p95"), "inconclusive"
    )
