"""What memory this process may take: the machine's, or less where its container says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from host import memory


def test_available_memory_is_the_machines_or_less() -> None:
    assert 0 < memory.available_memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(("limit", "expected_mib"), [("max", None), (str(300 * 2**20), 300 - 200 + 50)])
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected_mib: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{200 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {50 * 2**20}\n")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    machine = int(psutil.virtual_memory().total)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=machine))
    assert memory.available_memory_bytes() == (machine if expected_mib is None else expected_mib * 2**20)
