"""A recipe that fails beside one that passes: the run goes on and ends with 0; with --strict it ends with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.parts import project

WHY = "quantize failed: ExportError: the graph differs from torch"
BROKEN = """
from pydantic import BaseModel
from core.errors import ExportError
from quantizers import Traits

TRAITS = Traits(inputs=("weights",))

class Options(BaseModel):
    pass

def quantize(context, options, folder):
    (folder / "model.onnx").write_text("half")
    raise ExportError("the graph\\ndiffers from torch")
"""
FULL = """
from pathlib import Path
from core.errors import ResourceError
from quantizers import none
from quantizers.none import TRAITS, Options

def quantize(context, options, folder):
    if Path("disk-is-full").exists():
        raise ResourceError("no room on the disk")
    return none.quantize(context, options, folder)
"""


@pytest.mark.timeout(600)
def test_others_go_on_and_the_machine_s_failures_are_tried_again(tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = project.small(tmp_path / "project", tiny_qwen2, ["fp32"])
    for name, code in (("broken", BROKEN), ("full", FULL)):
        (folder / "quantizers" / f"{name}.py").write_text(code)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["recipes"] |= {name: params["recipes"]["fp32"] | {"quantizer": name} for name in ("broken", "full")}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "disk-is-full").touch()

    first = project.run(folder, "-m", "pipelines.repro")
    assert first.returncode == 0, first.stderr[-3000:]
    assert json.loads(first.stdout.splitlines()[-1])["variant"] == "fp32"
    summary = (folder / "reports/summary.md").read_text()
    assert f"Failed: broken – {WHY}\n" in summary
    assert "Failed: full – quantize failed: ResourceError: no room on the disk\n" in summary
    assert "Traceback" not in first.stderr
    logged = project.run(folder, "-c", RUNS, check=True)
    assert json.loads(logged.stdout.splitlines()[-1])["broken"] == ["failed", WHY]

    (folder / "disk-is-full").unlink()
    second = project.run(folder, "-m", "pipelines.repro")
    assert second.returncode == 0, second.stderr[-3000:]
    assert "trying quantize@full again" in second.stderr
    assert "quantize@broken" not in second.stderr.replace("'quantize@broken' didn't change", "")
    summary = (folder / "reports/summary.md").read_text()
    assert f"Failed: broken – {WHY}\n" in summary
    assert "Failed: full" not in summary

    for changed in (False, True):  # what an earlier run recorded, and what happens now
        if changed:
            params["recipes"]["broken"]["margin_points"] = 19.0
            (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        strict = project.run(folder, "-m", "pipelines.repro", "--strict")
        assert (strict.returncode, strict.stdout) == (1, "")
        assert "the graph differs from torch" in " ".join(strict.stderr.split())
        assert "Running stage 'select'" not in strict.stderr


RUNS = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
tags = {run.info.run_name: run.data.tags for run in runs}
print(json.dumps({name: [found["validation_status"], found.get("failure")] for name, found in tags.items()}))
"""
