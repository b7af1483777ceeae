"""The whole graph, from params.yaml to a registered version that answers, on tiny random models of both families."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.parts import project

RECIPES = ("fp32", "int8-static", "trt-int8")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_repro_ends_in_a_registered_version(family: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = project.small(tmp_path / "project", request.getfixturevalue(f"tiny_{family}"), RECIPES)
    first = project.run(folder, "-m", "pipelines.repro")
    assert first.returncode == 0, first.stderr[-3000:]
    told = json.loads(first.stdout.strip().splitlines()[-1])
    assert set(told) == {"decision", "variant", "model_version", "manifest_sha256", "report", "wall_s"}
    assert told["variant"] in RECIPES
    assert told["model_version"] == 1
    page = (folder / told["report"]).read_text()
    assert told["manifest_sha256"][:12] in page
    assert not re.search(r"""(?:\bsrc=|<link[^>]*|@import|url\()\s*["']?https?://""", page), "it loads from the net"

    answer = project.run(folder, "-c", ANSWER)
    assert answer.returncode == 0, answer.stderr[-2000:]

    again = project.run(folder, "-m", "dvc", "repro")
    assert re.findall("Running stage '(.+)'", again.stdout) == ["inputs"]

    _edit_recipe(folder)
    planned = project.run(folder, "-m", "dvc", "repro", "--dry")
    ran = {line.split("'")[1] for line in planned.stdout.splitlines() if line.startswith("Running stage")}
    assert ran <= {
        "inputs",
        *(f"{stage}@int8-static" for stage in ("quantize", "compile", "evaluate", "benchmark")),
        *("confirm", "select", "report", "register"),
    }
    assert "quantize@int8-static" in ran


ANSWER = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model("models:/assay@candidate")
answers = model.predict(["What is 2 + 3?"])
assert len(answers) == 1, answers
"""


def _edit_recipe(folder: Path) -> None:
    path = folder / "params.yaml"
    wanted = yaml.safe_load(path.read_text())
    wanted["recipes"]["int8-static"]["options"]["kl_budget"] = 0.02
    path.write_text(yaml.safe_dump(wanted))
