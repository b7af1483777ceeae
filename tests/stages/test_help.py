from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_asking_for_help_does_nothing_else(stage: str, tmp_path: Path) -> None:
    """`register --help` must not register, nor `--dry-run` (which no stage knows) run anything."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for asked, code in (("--help", 0), ("--dry-run", 2)):
        command = [sys.executable, "-m", f"stages.{stage}", asked]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert f"usage: {stage}.py" in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
