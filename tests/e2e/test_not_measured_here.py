"""A variant whose engine cannot run here is made, listed with the reason, and never chosen: on real stages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.measure import variant
from benchmarks.params import BenchmarkParams
from core import params, paths
from data import items
from evaluation.records import Evaluation
from models import manifest
from selection.records import Decision
from stages import evaluate, quantize, select
from tests.models import made
from tests.report import project

ROOT = Path(__file__).parents[2]
WHY = "vLLM is not installed"


def test_quantize_evaluate_benchmark_and_select_of_a_vllm_recipe(
    tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    project.set_recipe(tmp_path, "fp8", yaml.safe_load((ROOT / params.PARAMS_FILE).read_text())["recipes"]["fp8"])
    rows = made.items(tiny_qwen2, 16)
    for split in ("calibration", "evaluation"):
        items.save(paths.DATA, split, rows)
    items.save(paths.DATA, "text", [])

    monkeypatch.setattr(sys, "argv", ["quantize", "fp8"])
    quantize.main()
    folder = paths.VARIANTS / "fp8"
    assert manifest.verify(folder).runtime == "vllm"

    monkeypatch.setattr(sys, "argv", ["evaluate", "fp8"])
    evaluate.main()
    found = Evaluation.read(paths.EVALUATION / "fp8.json")
    assert (found.status, found.verdict, found.items) == ("not_measured_here", "inconclusive", 0)
    assert WHY in (found.why_not_measured or "")
    assert found.manifest_sha256 == manifest.digest(folder)

    few = BenchmarkParams(batches=[1], output_tokens=4, rounds=3)
    record = variant.measure("fp8", "vllm", folder, paths.MODEL, [row.prompt_ids for row in rows], few, threads=2)
    assert (record.status, record.workloads) == ("not_measured_here", [])
    record.save(paths.BENCHMARK / "fp8.json")

    select.main()
    decision = Decision.read(paths.DECISION)
    assert decision.variant in project.VARIANTS
    assert "fp8" not in [name for name, _ in decision.ranking]
    verdicts = {gate.gate: (gate.verdict, gate.why) for gate in decision.gates if gate.variant == "fp8"}
    assert verdicts["integrity"][0] == "pass"
    for gate in ("drift", "benchmark"):
        assert verdicts[gate][0] == "inconclusive"
        assert WHY in verdicts[gate][1]
    assert {verdict for verdict, _ in verdicts.values()} <= {"pass", "inconclusive"}
