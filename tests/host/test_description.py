from __future__ import annotations

import subprocess
import sys

import pytest

from host import description


def test_a_childs_work_is_ours_and_the_rest_is_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 CPU seconds 15 were busy and 9 ours: others took 6 of 20."""
    readings = iter([(1000.0, 400.0, 30.0), (1020.0, 415.0, 39.0)])
    monkeypatch.setattr(description, "_cpu_seconds", lambda: next(readings))
    with description.Others() as others:
        pass
    assert others.share == pytest.approx(0.3)


def test_cpu_seconds_count_children_that_ended() -> None:
    before = description._cpu_seconds()
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    total_s, busy_s, own_s = (now - then for then, now in zip(before, description._cpu_seconds(), strict=True))
    assert 0.45 <= own_s <= busy_s + 0.1 <= total_s + 0.2  # the kernel counts in ticks of 10 ms


def test_the_note_appears_only_when_others_took_enough() -> None:
    others = description.Others()
    others.share = 0.05
    assert others.note() is None
    others.share = 0.4
    assert "40%" in str(others.note())


def test_the_machine_is_described() -> None:
    found = description.describe(2)
    assert found.cpu
    assert found.cores >= 1
    assert found.memory_mib > 500
    assert found.threads == 2
    assert {"python", "torch", "onnxruntime-genai"} <= set(found.versions)
