"""MLflow itself reads MLproject and makes the commands that a person would type."""

from __future__ import annotations

import pytest

from tests.rollout.stage import ROOT


@pytest.mark.parametrize(
    ("entry", "given", "command"),
    [
        ("repro", {}, "python -m pipelines.repro"),
        ("stage", {"name": "select"}, "python -m dvc repro --single-item select"),
        ("promote", {}, "python -m pipelines.promote"),
        ("promote", {"version": "7"}, "python -m pipelines.promote --version 7"),
        ("reconcile", {}, "python -m pipelines.reconcile"),
    ],
)
def test_an_entry_point_is_the_command(entry: str, given: dict[str, str], command: str) -> None:
    from mlflow.projects._project_spec import load_project

    assert load_project(str(ROOT)).get_entry_point(entry).compute_command(given, None) == command
