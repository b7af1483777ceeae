"""The report's section of GPU figures: the kept files as they are, and what happens to one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.records import GpuRun
from core.errors import DataError
from report import gpu

ROOT = Path(__file__).parents[2]
KEPT = ROOT / gpu.RESULTS


def test_drift_is_of_these_files_only_where_the_manifest_is_the_same() -> None:
    kept = json.loads((KEPT / "gpu-h200-drift.json").read_text())["evaluations"]
    here = {kept[0]["variant"]: kept[0]["manifest_sha256"], kept[1]["variant"]: "0" * 64}
    first, *_ = gpu.tables(here, KEPT)
    assert [row.variant for row in first.drift] == [one["variant"] for one in kept]
    assert [row.same_files for row in first.drift][:2] == [True, False]
    assert [row.verdict for row in first.drift] == [one["verdict"] for one in kept]
    rows = {row.label: row for group in first.groups for row in group.rows}
    assert rows["items it took"].cells == [f"{one['items']:,}" for one in kept]
    assert rows["answers lost"].cells == [str(one["flips"]["lost"]) for one in kept]


def test_every_measured_rate_has_its_cell() -> None:
    kept = json.loads((KEPT / "gpu-h200.json").read_text())
    [table] = [one for one in gpu.tables({}, KEPT) if one.file == "gpu-h200.json"]
    shown = {
        (row.name, count): rate
        for row in table.speed
        for count, rate in zip(table.requests, row.rates, strict=True)
        if rate != "–"
    }
    assert shown == {(one["name"], one["requests"]): f"{one['decode_tok_s']['median']:,.0f}" for one in kept["rows"]}
    assert table.commands == kept["commands"]


def test_what_was_asked_for_stands_beside_what_was_measured_and_why() -> None:
    kept = GpuRun.read(KEPT / "gpu-h200.json")
    [table] = [one for one in gpu.tables({}, KEPT) if one.file == "gpu-h200.json"]
    assert [(row.what, row.met) for row in table.targets] == [(one.what, one.met) for one in kept.targets]
    assert {row.met for row in table.targets} == {True, False}
    profiled = [side for side in kept.sides if side.profile]
    assert [row.name for row in table.profiles] == [side.name for side in profiled]
    first = profiled[0].profile
    assert first is not None
    assert table.profiles[0].busy == f"{first.gpu_busy_ms / first.tokens:.2f}"
    assert len(table.profiles[0].longest) == gpu.LONGEST
    assert [note for note in table.notes if "ort-fp32-graph: not measured" in note]


def test_without_results_there_is_no_section(tmp_path: Path) -> None:
    assert gpu.tables({}, tmp_path) == []


@pytest.mark.parametrize("text", ["{", "{}", '{"evaluations": [{}], "commands": [], "machine": {}}'])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu-x.json").write_text(text)
    with pytest.raises(DataError, match=r"gpu-x\.json is not a GPU result .*: measure again, or delete it"):
        gpu.tables({}, tmp_path)
