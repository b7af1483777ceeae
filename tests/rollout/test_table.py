"""docs/rollout.md holds the table that the code prints; renew it with `python -m rollout.table --write`."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import DataError
from pipelines import params
from rollout import table
from rollout.states import State
from tests.rollout.stage import ROOT


def test_the_document_holds_the_codes_table() -> None:
    text = (ROOT / "docs" / "rollout.md").read_text()
    printed = table.markdown(params.load(ROOT / "params.yaml").rollout)
    assert table.into(text, printed) == text
    assert all(state in printed for state in State)


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="marks"):
        table.into("no marks", "table")
