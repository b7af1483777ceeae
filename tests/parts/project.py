"""A copy of the project, as after a clone: for tests that run its commands or edit its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# A model of random weights is never right, and 60 items show nothing: accuracy alone is left, with a wide margin.
RISES = ("truncated_rise", "missing_think_close_rise", "repetitive_rise", "empty_rise", "length_ratio")
NO_GATES: dict[str, Any] = {
    "validity": {"min_accuracy": 0.0, "max_truncated": 1.0},
    "metrics": {
        "flips": {},
        "kl": {},
        "top1": {"limits": {"top1_agreement": None}},
        "perplexity": {"limits": {"perplexity_ratio": None}},
        "behaviour": {"limits": dict.fromkeys(RISES)},
        "tasks": {"limits": {"task_": None}},
        "samples": {},
    },
}
SMALL: dict[str, dict[str, Any]] = {
    "data": {"train_items": 100, "evaluation_items": 60, "benchmark_items": 4},
    "generation": {"max_tokens": 200},
    "calibrate": {"prefill_items": 8, "decode_items": 4, "decode_steps": 4, "batch": 4, "sample_rows": 64},
    "evaluate": {"chunk_items": 30, "batch": 30, "teacher_forced_items": 8, "margin_points": 20.0, **NO_GATES},
    "compile": {"prefill_tokens": 64, "context_tokens": 320},
    "benchmark": {"batches": [1, 4], "output_tokens": 8, "rounds": 5},
    "select": {"slo": {"ttft_p95_ms": 60_000, "itl_p95_ms": 60_000}},
}
LEFT_OUT = ("tests/", ".dvc/", "dvc.lock", "models/reference/model.safetensors")


def listed() -> list[str]:
    """Every file of the project, by git: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def copy(folder: Path) -> Path:
    """The project in `folder` without tests, DVC's state and the model's weights; DVC set up there without git."""
    for name in listed():
        if not name.startswith(LEFT_OUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, "-m", "dvc", "init", "--no-scm", "--quiet", check=True)
    return folder


def small(folder: Path, model: Path, recipes: Sequence[str]) -> Path:
    """A copy with these shipped recipes and small params, pointed at `model`: its graph runs in a minute."""
    copy(folder)
    wanted = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in SMALL.items():
        wanted[section] |= values
    wanted["model"] |= {"source": str(model)}
    wanted["recipes"] = {name: wanted["recipes"][name] | {"margin_points": 20.0} for name in recipes}
    (folder / "params.yaml").write_text(yaml.safe_dump(wanted, sort_keys=False))
    return folder


def run(folder: Path, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """`python` with these arguments in that copy, with its own code and no MLflow but its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
