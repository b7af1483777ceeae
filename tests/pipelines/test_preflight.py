"""`python -m pipelines.preflight`: what a run takes, said from a config.json alone, before anything is fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import preflight
from tests.models.test_families import R1_QWEN
from tests.report.project import ROOT

# The shape of DeepSeek-R1-Distill-Qwen-7B: 7,615,616,512 parameters, as its model card says.
R1_QWEN_7B = {
    **R1_QWEN, "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064,
}  # fmt: skip
PARAMETERS, FP32, GIB = 7_615_616_512, 4, 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with params.yaml and nothing else; `model` holds nothing but a config.json."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(R1_QWEN_7B))
    return tmp_path


def run(folder: Path, *options: str, skip: bool = True) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": str(ROOT), preflight.SKIP: "1" if skip else "0"}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.preflight", *options],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_step_of_a_7b_model_from_its_config_alone(folder: Path) -> None:
    done = run(folder, "--model", "model", "--recipes", "fp16", "int4-weight", "int8-static", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    steps = {step["name"]: (step["memory_gib"], step["disk_gib"]) for step in found["steps"]}
    assert list(steps) == ["prepare", "export", "calibrate", "fp16", "int4-weight", "int8-static"]
    weights = PARAMETERS * FP32 / GIB  # 28.4
    samples = 2 * 1024 * FP32 * (28 * (3 * 3584 + 18944) + 3584) / GIB  # 6.4: rows of both phases of the calibration
    wanted = {  # memory, and disk with DVC's copy
        "prepare": (1, 2 * PARAMETERS * 2 / GIB),
        "export": (1 + 3.2 * weights, 2 * 2 * weights),
        "calibrate": (1 + 1.2 * weights + samples, 2 * samples),
        "fp16": (1 + 5 * weights, 2 * weights / 2),
        "int4-weight": (1 + 2.0 * weights, 2 * weights * 1.5 / 4),
        "int8-static": (1 + 3.5 * weights, 2 * weights * 1.5 / 4),
    }
    for name, figures in wanted.items():
        assert steps[name] == pytest.approx(figures, abs=1e-3)
    assert found["memory_gib"] == steps["fp16"][0]
    assert found["disk_gib"] == pytest.approx(sum(disk for _, disk in steps.values()), abs=0.005)


def test_the_samples_that_params_ask_for_count(folder: Path) -> None:
    asked = yaml.safe_load((folder / "params.yaml").read_text())
    asked["calibrate"]["sample_rows"] *= 2
    before = json.loads(run(folder, "--model", "model", "--json").stdout)["steps"][2]
    (folder / "params.yaml").write_text(yaml.safe_dump(asked))
    after = json.loads(run(folder, "--model", "model", "--json").stdout)["steps"][2]
    assert (before["name"], after["name"]) == ("calibrate", "calibrate")
    assert after["disk_gib"] == pytest.approx(2 * before["disk_gib"], abs=1e-3)
    assert after["memory_gib"] > before["memory_gib"]


def test_a_table_for_people_and_every_recipe_of_params(folder: Path) -> None:
    lines = run(folder, "--model", "model").stdout.splitlines()
    assert lines[0].split() == ["step", "memory", "GiB", "disk", "GiB"]
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]
    assert [line.split()[0] for line in lines[1:-1]] == ["prepare", "export", "calibrate", *shipped]
    assert lines[-1].startswith("peak (fp16), sum")


def test_a_machine_that_is_too_small_is_1_and_one_line(folder: Path) -> None:
    (folder / "model" / "config.json").write_text(json.dumps({**R1_QWEN_7B, "intermediate_size": 2**30}))
    done = run(folder, "--model", "model", "--recipes", "fp32", "--json", skip=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["disk_gib"] > 10**6
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a run of fp32 needs about ")


def test_what_is_not_supported_or_not_there_is_one_line(folder: Path) -> None:
    unknown = run(folder, "--model", "model", "--recipes", "fp33")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("error: params.yaml has no recipe 'fp33'; known: fp32, ")
    (folder / "model" / "config.json").write_text(json.dumps({**R1_QWEN_7B, "use_sliding_window": True}))
    refused = run(folder, "--model", "model")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: model: sliding-window attention")


def test_without_a_folder_the_model_of_params_is_asked() -> None:
    done = run(ROOT, "--json")
    assert done.returncode == 0, done.stderr
    assert 1 <= json.loads(done.stdout)["memory_gib"] < 1.5
