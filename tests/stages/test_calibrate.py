"""`calibrate` goes on from what a killed run left only if that run read the same tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core import params
from stages import calibrate
from tests.models import made

SETTINGS = params.load(calibrate.Settings, Path(__file__).parents[2] / "params.yaml")


def test_an_edited_question_starts_anew(tiny_qwen2: Path) -> None:
    rows = made.items(tiny_qwen2, 3)
    kept = calibrate._kept("model", rows, SETTINGS)
    assert kept == calibrate._kept("model", made.items(tiny_qwen2, 3), SETTINGS)
    assert kept != calibrate._kept("other model", rows, SETTINGS)
    edited = [*rows[:2], replace(rows[2], prompt_ids=(11, 12))]
    assert [row.item.id for row in edited] == [row.item.id for row in rows]
    assert kept != calibrate._kept("model", edited, SETTINGS)
    solved = [*rows[:2], replace(rows[2], target_ids=(11, 12))]
    assert kept != calibrate._kept("model", solved, SETTINGS)
