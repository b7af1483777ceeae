"""`make real` in a fresh copy: a model that nobody here wrote goes through the whole walk. Some fifteen minutes.

python -m pytest -m slow tests/e2e/test_real_model.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.records import Evaluation
from selection.records import Decision
from tests.parts import project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project.copy(tmp_path_factory.mktemp("real"))
    project.run(folder, "-m", "pipelines.fetch_real_model", check=True)
    return folder


def _run(root: Path) -> dict[str, Any]:
    done = project.run(root, "-m", "pipelines.repro", "--params", "params.real.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    result: dict[str, Any] = json.loads(lines[0])
    return result


def test_the_walk_ends_in_a_verdict_that_holds(root: Path) -> None:
    result = _run(root)
    assert (root / result["report"]).is_file()
    folder = root / "workspaces" / "real"
    recipes = yaml.safe_load((root / "params.real.yaml").read_text())["recipes"]
    judged = {name: Evaluation.read(folder / "artifacts" / "evaluation" / f"{name}.json") for name in recipes}
    for name, recipe in recipes.items():
        made = folder / "artifacts" / "variants" / name / "manifest.json"
        assert made.is_file(), f"{name} was not made"
        assert judged[name].status == ("measured" if recipe["runtime"] == "ort" else "not_measured_here")
    original = judged["fp32"]
    assert original.accuracy_reference is not None
    assert 0.3 <= original.accuracy_reference.value <= 0.9
    assert original.verdict == "pass"
    assert Decision.read(folder / "artifacts" / "decision.json").variant == result["variant"]

    # Another gate is another verdict, of the same version and from the answers that are there.
    params = yaml.safe_load((root / "params.real.yaml").read_text())
    params["recipes"]["int4-weight"]["margin_points"] = 50.0
    (root / "params.real.yaml").write_text(yaml.safe_dump(params))
    _run(root)
    again = Evaluation.read(folder / "artifacts" / "evaluation" / "int4-weight.json")
    assert again.manifest_sha256 == judged["int4-weight"].manifest_sha256
    assert (again.margin_points, again.verdict) == (50.0, "pass")
