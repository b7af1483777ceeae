"""The results that the repository keeps stay readable. Those of a GPU: see test_gpu.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import rollout, serving, side_by_side

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


@pytest.mark.parametrize("name", ["cpu", "cpu-1-thread", "large-cpu"])
def test_sides_side_by_side(name: str) -> None:
    run = side_by_side.SideBySide.read(RESULTS / f"{name}.json")
    assert run.side("fp32", 1).times["hf-float32"].rounds >= 3
    assert len(side_by_side.table(run).splitlines()) >= 1 + len(run.rows)


def test_rollouts_under_load() -> None:
    found = json.loads((RESULTS / "rollout.json").read_text())
    assert set(found) == {"machine", *rollout.PARTS}
    assert found["loss"]["lost"] == 0
    assert "added_p50_ms" in "\n".join(rollout.rows("cost", found["cost"]))


def test_the_server_against_a_bare_loop() -> None:
    found = json.loads((RESULTS / "serving.json").read_text())
    assert all(serving.row(name, figures).startswith(name) for name, figures in found["variants"].items())
