"""The whole graph, from params.yaml to a registered version that answers, on tiny random models of both families."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROOMS = ("bench", "benchmarks/results/gpu", "core", "data", "drift", "models", "pipelines", "report", "stages")
SMALL: dict[str, dict[str, Any]] = {
    "data": {"train_items": 100, "evaluation_items": 60, "benchmark_items": 4},
    "generation": {"max_tokens": 200},
    "calibrate": {"prefill_items": 8, "decode_items": 4, "decode_steps": 4, "batch": 4, "sample_rows": 64},
    "evaluate": {"chunk_items": 30, "batch": 30, "teacher_forced_items": 8, "margin_points": 20.0},
    "compile": {"prefill_tokens": 64, "context_tokens": 128},
    "benchmark": {"batches": [1, 4], "output_tokens": 8, "rounds": 5},
    "select": {"slo": {"ttft_p95_ms": 60_000, "itl_p95_ms": 60_000}},
}
RECIPES = ("fp32", "int8-static", "trt-int8")


def _project(folder: Path, model: Path) -> Path:
    """A copy of the project with small params, pointed at `model`; DVC without git."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    wanted = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SMALL.items():
        wanted[section] |= values
    wanted["model"] |= {"source": str(model)}
    wanted["recipes"] = {name: wanted["recipes"][name] | {"margin_points": 20.0} for name in RECIPES}
    (folder / "params.yaml").write_text(yaml.safe_dump(wanted))
    _run(folder, "-m", "dvc", "init", "--no-scm", "-q")
    return folder


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_repro_ends_in_a_registered_version(family: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = _project(tmp_path / "project", request.getfixturevalue(f"tiny_{family}"))
    first = _run(folder, "-m", "pipelines.repro")
    assert first.returncode == 0, first.stderr[-3000:]
    told = json.loads(first.stdout.strip().splitlines()[-1])
    assert set(told) == {"decision", "variant", "model_version", "manifest_sha256", "report", "wall_s"}
    assert told["variant"] in RECIPES
    assert told["model_version"] == 1
    page = (folder / told["report"]).read_text()
    assert told["manifest_sha256"][:12] in page
    assert not re.search(r"""(?:\bsrc=|<link[^>]*|@import|url\()\s*["']?https?://""", page), "it loads from the net"

    answer = _run(folder, "-c", ANSWER)
    assert answer.returncode == 0, answer.stderr[-2000:]

    again = _run(folder, "-m", "dvc", "repro")
    assert "Running stage" not in again.stdout + again.stderr

    _edit_recipe(folder)
    planned = _run(folder, "-m", "dvc", "repro", "--dry")
    ran = {line.split("'")[1] for line in planned.stdout.splitlines() if line.startswith("Running stage")}
    assert ran <= {
        *(f"{stage}@int8-static" for stage in ("quantize", "evaluate", "benchmark")),
        *("select", "report", "register"),
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
    wanted["recipes"]["int8-static"]["options"]["smooth_alpha"] = 0.6
    path.write_text(yaml.safe_dump(wanted))
