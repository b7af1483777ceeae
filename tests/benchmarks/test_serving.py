from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import serving
from core import paths
from core.errors import DataError
from data import items

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("prompts", "said"), [(4, "16 clients need as many prompts, there are 4"), (32, "none/int8 not found")]
)
def test_what_is_missing_is_said_before_anything_is_measured(
    prompts: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer prompts than clients the rates would count answers that nobody asked for."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(items, "load", lambda folder, name: [SimpleNamespace(prompt_ids=(5, 6))] * prompts)
    monkeypatch.setattr(paths, "VARIANTS", tmp_path / "none")
    (tmp_path / "none/fp32").mkdir(parents=True)
    monkeypatch.setattr(serving, "compare", lambda *asked: pytest.fail("measured"))
    monkeypatch.setattr("sys.argv", ["serving", "fp32", "int8"])
    with pytest.raises(DataError, match=said):
        serving.main()
