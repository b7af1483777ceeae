"""A recipe that fails is a result: quantize records it, later stages list it with its reason. A bug ends the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.records import Benchmark
from core import cli, paths
from core.errors import (
    AssayError,
    ConfigError,
    DataError,
    EngineError,
    ExportError,
    IntegrityError,
    QuantizationError,
    ResourceError,
)
from data import items
from evaluation import systems
from evaluation.records import Evaluation
from models import manifest
from quantizers import none
from selection.records import Decision
from stages import quantize, report, select
from tests.models import made
from tests.report import project
from trt.records import Compilation

WHY = "2 layers differ\n  from torch: | q_proj"
REASON = "quantize failed: ExportError: 2 layers differ from torch: | q_proj"


@pytest.fixture
def root(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a recipe `broken` beside the two that are measured."""
    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(cli.STRICT, raising=False)
    project.set_recipe(tmp_path, "broken", {"quantizer": "none", "runtime": "ort", "options": {}})
    (paths.EXPORT / "fused").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the stage on recipe `broken`, whose quantizer writes half a file and then raises `error`."""

    def run(error: BaseException, *arguments: str) -> None:
        def fail(context: object, options: object, folder: Path) -> dict[str, object]:
            (folder / "model.onnx").write_text("half")
            raise error

        monkeypatch.setattr(none, "quantize", fail)
        monkeypatch.setattr(sys, "argv", ["quantize", "broken", *arguments])
        quantize.main()

    return run


@pytest.mark.parametrize("kind", [QuantizationError, ExportError, EngineError, ResourceError, DataError, ConfigError])
def test_what_a_quantizer_raises_is_recorded_in_one_line(
    kind: type[AssayError], run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run(kind(WHY))
    folder = paths.VARIANTS / "broken"
    assert [file.name for file in folder.iterdir()] == [manifest.FAILED]
    assert json.loads((folder / manifest.FAILED).read_text()) == {
        "variant": "broken",
        "quantizer": "none",
        "error": kind.__name__,
        "message": f"{kind.__name__}: 2 layers differ from torch: | q_proj",
    }
    assert REASON.replace("ExportError", kind.__name__) in capsys.readouterr().err


def test_memory_that_ran_out_is_said_so(run: Callable[..., None]) -> None:
    run(MemoryError())
    failure = manifest.failure(paths.VARIANTS / "broken")
    assert failure is not None
    assert failure.reason == "quantize failed: MemoryError: not enough memory on this machine"


def test_a_recipe_that_works_again_leaves_no_trace_of_its_failure(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ExportError(WHY))
    monkeypatch.setattr(none, "quantize", lambda context, options, folder: {})
    quantize.main()
    assert manifest.verify(paths.VARIANTS / "broken").quantizer == "none"
    assert not (paths.VARIANTS / "broken" / manifest.FAILED).exists()


@pytest.mark.parametrize("arguments", [("--strict",), ()])
def test_strict_ends_the_run_and_leaves_nothing(
    arguments: tuple[str, ...], run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not arguments:
        monkeypatch.setenv(cli.STRICT, "1")
    with pytest.raises(ExportError, match="2 layers differ"):
        run(ExportError(WHY), *arguments)
    assert not (paths.VARIANTS / "broken").exists()


def test_a_bug_is_no_failed_recipe(run: Callable[..., None]) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
    assert not (paths.VARIANTS / "broken").exists()


def test_a_wrong_option_and_a_missing_input_are_no_failed_recipe(root: Path, run: Callable[..., None]) -> None:
    project.set_recipe(root, "broken", {"quantizer": "none", "runtime": "ort", "options": {"bits": 3}})
    with pytest.raises(ConfigError, match=r"recipes\.broken\.options: bits"):
        run(ExportError(WHY))
    project.set_recipe(root, "broken", {"quantizer": "none", "runtime": "ort", "options": {}})
    (paths.EXPORT / "fused").rmdir()
    with pytest.raises(DataError, match="fused not found"):
        run(ExportError(WHY))


def test_a_failed_recipe_goes_through_every_stage_and_is_never_served(root: Path, run: Callable[..., None]) -> None:
    run(ExportError(WHY))
    folder = paths.VARIANTS / "broken"
    with pytest.raises(IntegrityError, match=r"broken has no manifest\.json: quantize failed: ExportError"):
        systems.verified(folder, "ort")  # hashed before anything is loaded, by evaluate and by the server
    for split, count in (("evaluation", 8), ("benchmark", 8), ("text", 0)):
        items.save(paths.DATA, split, made.items(paths.MODEL, count))
    for stage in ("compile", "evaluate", "benchmark"):
        code = f"import sys; from stages import {stage} as stage; stage.main(); print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code, "broken"],
            env=os.environ | {"PYTHONPATH": str(project.ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not {"torch", "onnx", "onnxruntime", "transformers"} & set(done.stdout.split()), stage

    compiled = Compilation.read(paths.ENGINES / "broken" / "compile.json")
    assert (compiled.made_from, compiled.engines, compiled.failed) == ("none", [], None)  # it wanted no engines
    evaluation = Evaluation.read(paths.EVALUATION / "broken.json")
    assert (evaluation.status, evaluation.verdict, evaluation.items) == ("failed", "fail", 0)
    assert (paths.EVALUATION / "broken.parquet").exists()
    benchmark = Benchmark.read(paths.BENCHMARK / "broken.json")
    assert (benchmark.status, benchmark.workloads) == ("failed", [])
    assert {evaluation.why_not_measured, benchmark.why_not_measured, evaluation.reason} == {REASON}

    select.main()
    decision = Decision.read(paths.DECISION)
    assert decision.variant == "int8-static"
    (gate,) = [gate for gate in decision.gates if gate.variant == "broken"]
    assert (gate.gate, gate.verdict, gate.why) == ("integrity", "fail", REASON)
    report.main()
    summary = (paths.REPORTS / "summary.md").read_text()
    assert "❌ Failed: broken – quantize failed: ExportError: 2 layers differ from torch: \\| q\\_proj\n" in summary
    assert "| broken |" not in summary  # no column without a figure in it
    html = (paths.REPORTS / "index.html").read_text()
    assert f"<strong>broken</strong>: {REASON}." in html
    assert f"Accuracy and speed of broken: {REASON}." in html


def test_a_failed_recipe_that_wants_engines_says_why_there_are_none(root: Path) -> None:
    project.set_recipe(root, "broken", {"quantizer": "trt_int8", "runtime": "tensorrt", "options": {}})
    failed = manifest.Failure(
        variant="broken", quantizer="trt_int8", error="DataError", message="DataError: no items"
    )
    failed.save(paths.VARIANTS / "broken" / manifest.FAILED)
    subprocess.run(
        [sys.executable, "-m", "stages.compile", "broken"],
        env=os.environ | {"PYTHONPATH": str(project.ROOT)},
        check=True,
    )
    assert (
        Compilation.read(paths.ENGINES / "broken" / "compile.json").failed == "quantize failed: DataError: no items"
    )
    select.main()
    report.main()
    assert "Engines of broken: quantize failed: DataError: no items." in (paths.REPORTS / "index.html").read_text()
