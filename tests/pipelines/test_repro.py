"""`make repro`: its last line, its exit codes, and the same through `mlflow run`, with real stages on real DVC."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from core import paths
from models import manifest
from pipelines.repro import exit_code
from registry.records import Registration
from tests.report import fixtures, project

STAGES = {
    "confirm": {"deps": ["artifacts/evaluation"], "outs": ["artifacts/confirmation.json"]},
    "select": {"deps": ["artifacts/confirmation.json", "artifacts/benchmark"], "outs": ["artifacts/decision.json"]},
    "report": {"deps": ["artifacts/decision.json"], "outs": ["reports/index.html", "reports/summary.md"]},
    "register": {"deps": ["artifacts/decision.json", "reports/index.html"], "outs": ["artifacts/registration.json"]},
}


def lay_out(root: Path, model: Path) -> Path:
    """A project whose last three stages are the real ones; what comes before them is there already."""
    project.build(root, model)
    stages = {name: {"cmd": f"python -m stages.{name}", **stage} for name, stage in STAGES.items()}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copy(project.ROOT / "MLproject", root)
    return root


def environment(**own: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(project.ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path, **own}


def run(root: Path, *command: str, **own: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=environment(**own),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_qwen2: Path) -> tuple[Path, dict[str, Any]]:
    """A project after its first `make repro`, and the line that it ended with."""
    root = lay_out(tmp_path_factory.mktemp("project"), tiny_qwen2)
    done = run(root, "pipelines.repro")
    assert done.returncode == 0, done.stderr
    assert "Running stage 'register'" in done.stderr
    (line,) = done.stdout.splitlines()  # nothing but the result is on stdout
    return root, json.loads(line)


def test_the_last_line_tells_what_was_decided_and_registered(finished: tuple[Path, dict[str, Any]]) -> None:
    root, line = finished
    assert list(line) == ["decision", "variant", "model_version", "manifest_sha256", "report", "wall_s"]
    assert line["decision"].startswith("Serve int8-static: ")
    assert line["manifest_sha256"] == manifest.digest(root / paths.VARIANTS / line["variant"])
    assert line["model_version"] == Registration.read(root / paths.REGISTRATION).model_version == 1
    assert (root / line["report"]).is_file()
    assert line["wall_s"] > 0


def test_mlflow_run_starts_the_job_and_one_stage(finished: tuple[Path, dict[str, Any]]) -> None:
    root, line = finished
    mlflow = ("mlflow", "run", ".", "--env-manager", "local", "-e")
    everything = run(root, *mlflow, "repro")
    assert everything.returncode == 0, everything.stderr
    assert json.loads(everything.stdout.splitlines()[-1])["manifest_sha256"] == line["manifest_sha256"]
    (root / paths.DECISION).unlink()
    one = run(root, *mlflow, "stage", "-P", "name=select")
    assert one.returncode == 0, one.stderr
    assert (root / paths.DECISION).is_file()


def test_a_lost_store_is_registered_into_again(finished: tuple[Path, dict[str, Any]]) -> None:
    root, line = finished
    (root / "mlflow.db").unlink()
    shutil.rmtree(root / "mlartifacts")
    done = run(root, "pipelines.repro")
    assert done.returncode == 0, done.stderr
    assert "registering it again" in done.stderr
    assert json.loads(done.stdout)["manifest_sha256"] == line["manifest_sha256"]
    assert list((root / "mlartifacts").rglob("manifest.json"))


def test_no_variant_passes_ends_with_3_a_line_of_nulls_and_the_gate(tmp_path: Path, tiny_qwen2: Path) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    for name in project.VARIANTS:
        project.save(
            root, fixtures.evaluation(name, verdict="fail", reason="lost 9 points"), fixtures.benchmark(name)
        )
    done = run(root, "pipelines.repro", MLFLOW_TRACKING_URI="sqlite:////dev/null/mlflow.db")
    assert done.returncode == 3, done.stderr
    line = json.loads(done.stdout)
    assert (line["variant"], line["model_version"], line["manifest_sha256"]) == (None, None, None)
    assert "fp32: drift failed (lost 9 points)" in done.stderr
    assert "Serve none of them" in (root / line["report"]).read_text()
    assert not (root / paths.REGISTRATION).exists()


@pytest.mark.parametrize(("command", "code"), [("exit 2", 2), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_failing_stage_s(tmp_path: Path, tiny_qwen2: Path, command: str, code: int) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    stage = {"cmd": f"sh -c '{command}'", "outs": ["artifacts/decision.json"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"select": stage}}))
    done = run(root, "pipelines.repro")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "failed to reproduce 'select'" in done.stderr


STAGE = """
import subprocess, sys, time
from pathlib import Path
from core import cli, files

def main():
    child = subprocess.Popen(["sleep", "300"])
    with files.atomic_folder(Path("artifacts/made")) as folder:
        (folder / "half").write_text("half")
        Path("begun").write_text(str(child.pid))
        time.sleep(300)

cli.run(main)
"""


def test_sigterm_ends_the_running_stage_with_its_children_and_leaves_nothing_half_written(
    tmp_path: Path, tiny_qwen2: Path
) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    (root / "stage.py").write_text(STAGE)
    (root / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"s": {"cmd": "python stage.py", "outs": ["artifacts/made"]}}})
    )
    before = {path.name for path in (root / "artifacts").iterdir()}
    job = subprocess.Popen([sys.executable, "-m", "pipelines.repro"], cwd=root, env=environment())
    while not (root / "begun").exists() or not (root / "begun").read_text():
        assert job.poll() is None
        time.sleep(0.05)
    stage, child = psutil.Process(job.pid).children(recursive=True)[-2:], int((root / "begun").read_text())
    job.terminate()
    assert job.wait(30) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(child)
    assert not [process for process in stage if process.is_running()]
    assert {path.name for path in (root / "artifacts").iterdir()} == before


def test_a_mistake_in_params_is_told_before_anything_runs(tmp_path: Path, tiny_qwen2: Path) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    (root / "params.yaml").write_text((root / "params.yaml").read_text().replace("objective:", "objectives:"))
    done = run(root, "pipelines.repro")
    assert done.returncode == 2
    assert "select.objective" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_dvc_names_no_status_the_code_is_1() -> None:
    error = RuntimeError("failed to reproduce 'x'")
    error.__cause__ = RuntimeError("failed to run: a, exited with 3")
    assert exit_code(error) == 3
    assert exit_code(RuntimeError("cannot get the lock")) == 1


def test_every_entry_point_of_mlproject_names_a_command_that_exists() -> None:
    entries = yaml.safe_load((project.ROOT / "MLproject").read_text())["entry_points"]
    assert {"repro", "stage", "promote"} <= entries.keys()
    for entry in entries.values():
        python, flag, module, *_ = entry["command"].split()
        assert (python, flag) == ("python", "-m")
        assert module == "dvc" or (project.ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_a_recipes_wrong_option_is_told_before_any_stage_runs(tmp_path: Path, tiny_qwen2: Path) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    asked = yaml.safe_load((root / "params.yaml").read_text())
    asked["recipes"]["typo"] = {
        "quantizer": "weight_only",
        "runtime": "ort",
        "options": {"bits": 8, "blocksize": 64},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(asked))
    done = run(root, "pipelines.repro")
    assert done.returncode not in (0, 3)
    assert "params.yaml: recipes.typo.options: blocksize: Extra inputs are not permitted" in done.stderr
    assert "Running stage" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_that_a_recipe_s_runtime_does_not_take_is_told_before_any_stage_runs(
    tmp_path: Path, tiny_qwen2: Path
) -> None:
    root = lay_out(tmp_path, tiny_qwen2)
    asked = yaml.safe_load((root / "params.yaml").read_text())
    asked["evaluate"]["batch"] = 33
    asked["recipes"]["small"] = {"quantizer": "none", "runtime": "ort", "options": {}}
    (root / "params.yaml").write_text(yaml.safe_dump(asked))
    done = run(root, "pipelines.repro")
    assert done.returncode == 2
    assert "evaluate.batch is 33, but runtime 'ort' takes at most 32 sequences at once: lower it" in done.stderr
    assert "Running stage" not in done.stderr
