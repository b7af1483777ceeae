"""`select` on real folders: it re-hashes them, decides, and leaves a decision even when nothing passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import paths
from core.records import Verdict
from models import manifest
from selection.records import Decision
from stages import select
from tests.report import fixtures, project


@pytest.fixture
def root(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict(decision: Decision, variant: str, gate: str) -> Verdict:
    return next(one.verdict for one in decision.gates if (one.variant, one.gate) == (variant, gate))


def test_the_fastest_variant_that_passes_is_chosen_by_its_digest(root: Path) -> None:
    select.main()
    decision = Decision.read(paths.DECISION)
    assert decision.variant == "int8-static"
    assert decision.manifest_sha256 == manifest.digest(paths.VARIANTS / "int8-static")


def test_a_flipped_byte_costs_the_variant_its_place_and_names_the_file(root: Path) -> None:
    file = paths.VARIANTS / "int8-static" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    select.main()
    decision = Decision.read(paths.DECISION)
    assert decision.variant == "fp32"
    assert verdict(decision, "int8-static", "integrity") == "fail"
    assert "changed: model.safetensors" in next(gate.why for gate in decision.gates if gate.verdict == "fail")


def test_no_variant_passes_leaves_a_decision_that_names_gate_and_variant(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in project.VARIANTS:
        project.save(
            root, fixtures.evaluation(name, verdict="fail", reason="lost 9 points"), fixtures.benchmark(name)
        )
    (paths.BENCHMARK / "fp32.json").unlink()
    select.main()
    decision = Decision.read(paths.DECISION)
    assert decision.variant is None
    message = capsys.readouterr().err
    assert "int8-static: drift failed (lost 9 points)" in message
    assert "fp32: integrity was inconclusive (there is no benchmark to compare with the manifest)" in message
