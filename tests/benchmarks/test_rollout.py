from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import rollout
from benchmarks.rollout import merged
from core import paths
from core.errors import DataError


def test_a_part_measured_elsewhere_does_not_pass_for_one_of_this_machine() -> None:
    here = {"machine": {"cpu": "one", "versions": {"torch": "2"}}, "cost": {"rounds": 20}}
    earlier = here | {"cost": {"rounds": 5}, "loss": {"lost": 0}}
    assert merged(earlier, here) == earlier | here
    elsewhere = earlier | {"machine": {"cpu": "another", "versions": {"torch": "2"}}}
    assert merged(elsewhere, here) == here
    assert merged({}, here) == here


def test_a_part_that_fails_takes_no_earlier_one_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "rollout.json"
    monkeypatch.setattr(rollout, "cost", lambda folder, rounds: {"rounds": rounds})
    monkeypatch.setattr(paths, "VARIANTS", tmp_path / "none")
    monkeypatch.setattr("sys.argv", ["rollout", "cost", "memory", "--rounds", "3", "--result", str(result)])
    with pytest.raises(DataError, match="fp32 not found"):
        rollout.main()
    assert json.loads(result.read_text())["cost"]["rounds"] == 3
