from __future__ import annotations

import pytest

from benchmarks import side_by_side
from core.errors import RuntimeFault
from tests.benchmarks import fake

PROMPTS = [[10, 11], [12, 13], [14, 15]]


def run(*behaviours: str) -> side_by_side.SideBySide:
    specs = [fake.spec(behaviour, name=behaviour) for behaviour in behaviours]
    words = {"command": "python -m benchmarks.cpu", "model": "none", "not_measured_here": {"gpu": "no GPU"}}
    return side_by_side.measure(specs, ["half"], PROMPTS, [1, 2], 6, 3, **words)  # type: ignore[arg-type]  # a mixed dict


def test_ratios_between_sides_come_from_one_run() -> None:
    found = run("plain", "half")
    assert {(row.name, row.batch) for row in found.rows} == {(n, b) for n in ("plain", "half") for b in (1, 2)}
    assert found.side("half", 2).times["half"].median == 1.0
    assert found.side("plain", 1).times["half"].median > 1.5  # ten times by its sleeps; more on a busy machine
    text = side_by_side.table(found)
    assert len({len(line) for line in text.splitlines()[:5]}) == 1  # columns align
    assert "gpu: not measured here: no GPU" in text
    with pytest.raises(KeyError, match="plain at batch 8"):
        found.side("plain", 8)


def test_a_failing_side_fails_the_run() -> None:
    with pytest.raises(RuntimeFault, match="bad node"):
        run("half", "raise")
