"""The stage as a command: real torch on a tiny model, killed and resumed, refused, not runnable here."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core import paths, plugins
from core.errors import ConfigError, IntegrityError, ResourceError, RuntimeFault
from evaluation import systems
from evaluation.records import Evaluation
from models import manifest
from models.params import Recipe
from stages import evaluate
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    evaluate.main()


def against(folder: Path, reference: Path) -> Path:
    return folder / evaluate.AGAINST / manifest.digest(reference)[:16]


def test_real_torch_against_itself_differs_in_nothing(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides load the same random weights: no flip, no divergence; and no verdict, for all answers are wrong."""
    rows = made.rows(tiny_qwen2, 96)
    made.project(tmp_path, tiny_qwen2, rows, chunk_items=32, batch=16, teacher_forced_items=20, margin_points=9.0)
    folder = shutil.copytree(tiny_qwen2, tmp_path / paths.VARIANTS / "torch")
    recipe = Recipe(quantizer="none", runtime="torch")
    manifest.write(folder, variant="torch", recipe=recipe, model_folder=tiny_qwen2, facts={})
    run(monkeypatch, tmp_path, "torch")
    found = Evaluation.read(paths.EVALUATION / "torch.json")
    assert found.manifest_sha256 == manifest.digest(folder)
    assert found.reference_sha256 == manifest.source_digest(tiny_qwen2)
    assert (found.runtime, found.reference_runtime) == ("torch", "torch")
    assert found.verdict == "inconclusive"
    assert "the original is right in 0.0%" in found.reason
    assert found.items == 32  # told after the first chunk
    assert found.accuracy_reference is not None
    assert found.accuracy_reference.value == 0.0
    figures = {metric.name: metric.value for metric in found.metrics}
    assert (figures["identical_answers"], figures["top1_agreement"]) == (1.0, 1.0)
    assert (figures["kl_max_nats"] or 0.0) < 1e-6
    assert (paths.EVALUATION / "torch.parquet").exists()


def test_killed_anywhere_it_repeats_at_most_one_chunk(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2)
    calls_needed = 2 * 8 + 2 * 3  # both systems answer 8 chunks (one batch each), and give logits of 96 items in 3
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    records = []
    for folder, kill_after in ((whole, []), (killed, [5, 10, calls_needed - 1])):
        made.project(folder, tiny_qwen2, rows, margin_points=1.0)
        reference = made.version(folder / "ref", tiny_qwen2, rows, wrong=0.0, delay_s=0.1)
        made.version(folder / paths.VARIANTS / "canned", tiny_qwen2, rows, wrong=0.0, noise=0.1, delay_s=0.1)
        log = folder / "log"
        log.write_text("")
        environment = os.environ | {"PYTHONPATH": str(made.ROOT), "CANNED_LOG": str(log)}
        for kills, calls in enumerate(kill_after):
            process = made.start(folder, environment, "canned", "--against", "ref")
            deadline = time.monotonic() + 60
            while len(log.read_text().splitlines()) < calls + kills:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        process = made.start(folder, environment, "canned", "--against", "ref")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert len(log.read_text().splitlines()) <= calls_needed + len(kill_after)
        records.append(Evaluation.read(against(folder, reference) / "canned.json"))
    ignored = {"wall_s", "peak_rss_mib"}
    assert records[0].items == made.BUDGET
    assert records[0].model_dump(exclude=ignored) == records[1].model_dump(exclude=ignored)


def test_a_second_variant_reuses_the_reference(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.rows(tiny_qwen2)
    made.project(tmp_path, tiny_qwen2, rows)
    reference = made.version(tmp_path / "ref", tiny_qwen2, rows)
    variant = tmp_path / paths.VARIANTS / "canned"
    monkeypatch.setenv("CANNED_LOG", str(tmp_path / "log"))
    for noise in (0.0, 0.1):
        made.version(variant, tiny_qwen2, rows, noise=noise)
        run(monkeypatch, tmp_path, "canned", "--against", str(reference))
    log = (tmp_path / "log").read_text().splitlines()
    assert log.count("ref generate 32") * 2 == log.count("canned generate 32") > 0
    assert "evaluate: canned: 32 items, 0 lost, 0 gained: +0.00 points" in capsys.readouterr().err
    assert not (tmp_path / paths.EVALUATION).exists()  # what select reads is about the original only


def test_a_runtime_that_cannot_run_here_is_inconclusive(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows(tiny_qwen2, 64)
    made.project(tmp_path, tiny_qwen2, rows)
    made.version(tmp_path / paths.VARIANTS / "canned", tiny_qwen2, rows)
    monkeypatch.setenv("CANNED_REASON", "no GPU of compute capability 8.0")
    run(monkeypatch, tmp_path, "canned")
    found = Evaluation.read(paths.EVALUATION / "canned.json")
    assert (found.status, found.verdict, found.items) == ("not_measured_here", "inconclusive", 0)
    assert "no GPU" in found.reason
    assert (paths.EVALUATION / "canned.parquet").exists()


@pytest.mark.parametrize(
    ("method", "error"),
    [("__init__", ResourceError("no room")), ("logits", RuntimeFault("a\nNaN")), ("generate", None)],
)
def test_a_runtime_that_fails_is_recorded_and_with_strict_or_against_raised(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception | None
) -> None:
    rows = made.rows(tiny_qwen2, 64)
    made.project(tmp_path, tiny_qwen2, rows)
    reference = made.version(tmp_path / "ref", tiny_qwen2, rows)
    monkeypatch.setattr(systems, "original", lambda _, threads: systems.version(reference, threads, "reference"))
    folder = made.version(tmp_path / paths.VARIANTS / "canned", tiny_qwen2, rows, wrong=0.0, noise=0.1)
    canned = plugins.load("runtimes", "canned").Canned
    works = getattr(canned, method)

    def fail(self: Any, *given: Any, **named: Any) -> Any:
        if "canned" in str(given[0] if method == "__init__" else self.folder):
            raise error or MemoryError()
        return works(self, *given, **named)

    monkeypatch.setattr(canned, method, fail)
    run(monkeypatch, tmp_path, "canned")
    found = Evaluation.read(paths.EVALUATION / "canned.json")
    assert (found.status, found.verdict, found.items) == ("failed", "fail", 0)
    reasons = {"__init__": "ResourceError: no room", "logits": "RuntimeFault: a NaN"}
    assert found.reason == f"evaluate failed: {reasons.get(method, 'MemoryError: not enough memory on this machine')}"
    assert found.manifest_sha256 == manifest.digest(folder)
    assert (paths.EVALUATION / "canned.parquet").exists()
    for arguments in (("canned", "--strict"), ("canned", "--against", str(reference))):
        with pytest.raises(type(error or MemoryError())):
            run(monkeypatch, tmp_path, *arguments)


def test_a_reference_that_cannot_run_here_is_a_clear_error(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows(tiny_qwen2, 64)
    made.project(tmp_path, tiny_qwen2, rows)
    folder = shutil.copytree(tiny_qwen2, tmp_path / paths.VARIANTS / "torch")
    recipe = Recipe(quantizer="none", runtime="torch")
    manifest.write(folder, variant="torch", recipe=recipe, model_folder=tiny_qwen2, facts={})
    made.version(tmp_path / "ref", tiny_qwen2, rows)
    monkeypatch.setenv("CANNED_REASON", "no GPU of compute capability 8.0")
    with pytest.raises(ResourceError, match="ref cannot answer on this machine: no GPU of compute capability"):
        run(monkeypatch, tmp_path, "torch", "--against", "ref")


def test_files_that_differ_from_the_manifest_are_not_loaded(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows(tiny_qwen2, 64)
    made.project(tmp_path, tiny_qwen2, rows)
    folder = made.version(tmp_path / paths.VARIANTS / "canned", tiny_qwen2, rows)
    monkeypatch.setenv("CANNED_LOG", str(tmp_path / "log"))
    (folder / "table.json").write_text((folder / "table.json").read_text() + " ")
    with pytest.raises(IntegrityError, match=r"changed: table\.json"):
        run(monkeypatch, tmp_path, "canned")
    assert not (tmp_path / "log").exists()


def test_a_variant_of_another_runtime_and_an_unknown_recipe_are_refused(
    tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows(tiny_qwen2, 64)
    made.project(tmp_path, tiny_qwen2, rows)
    made.version(tmp_path / paths.VARIANTS / "torch", tiny_qwen2, rows)
    with pytest.raises(ConfigError, match="made for runtime 'canned'"):
        run(monkeypatch, tmp_path, "torch")
    with pytest.raises(ConfigError, match="no recipe 'int3'"):
        run(monkeypatch, tmp_path, "int3")
