"""Where the winner is confirmed: on its own recipe's runner, and again where another machine could not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ci import measured
from core import paths
from selection.records import Confirmation
from tests.report import fixtures, project


@pytest.fixture
def ran(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A project whose winner is int8-static, on a runner `gpu`; what was started, and `confirm` as done by DVC."""
    project.build(tmp_path, tiny_qwen2)
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    raw["evaluate"] |= {"many_recipes": "confirm", "alpha_shares": 1}
    raw["ci"] = {"runners": {"int8-static": "gpu"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    started: list[str] = []

    def run(*command: str) -> None:
        started.append(" ".join(command))
        if started[-1] in ("ci/repro-shared confirm", "dvc repro --force --single-item confirm"):
            forced = "--force" in command
            evaluation = fixtures.evaluation("int8-static")
            if not forced:
                evaluation = evaluation.model_copy(update={"status": "not_measured_here"})
            found = Confirmation(variant="int8-static", manifest_sha256="f" * 64, evaluation=evaluation, why="made")
            found.save(paths.CONFIRMATION)
            measured.LOCK.write_text(yaml.safe_dump({"stages": {"confirm": {"cmd": f"forced: {forced}"}}}))

    monkeypatch.setattr(measured, "_run", run)
    return started


def test_another_runner_leaves_it_to_the_winners(ran: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    measured.confirm("cpu")
    assert all(command.startswith("dvc pull") for command in ran)
    assert "int8-static: left to runner 'gpu', this one is 'cpu'" in capsys.readouterr().err
    assert not measured.LOCKS.exists()


def test_what_no_machine_could_confirm_yet_is_confirmed_here(ran: list[str]) -> None:
    measured.confirm("gpu")
    assert ran[-3:] == [
        "ci/repro-shared confirm",
        "dvc repro --force --single-item confirm",
        "dvc push --run-cache confirm",
    ]
    kept = yaml.safe_load((measured.LOCKS / "confirm.yaml").read_text())
    assert kept == {"stages": {"confirm": {"cmd": "forced: True"}}}
