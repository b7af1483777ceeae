"""The stage as a user runs it, in a folder of its own, on a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from core import params, paths
from data import items

ROOT = Path(__file__).parents[2]


def project(folder: Path, model: Path, suite: dict[str, Any], many_recipes: str = "confirm") -> None:
    settings = yaml.safe_load((ROOT / params.PARAMS_FILE).read_text())
    settings["model"]["source"] = str(model)
    settings["data"] |= {"train_items": 60, "evaluation_items": 60, "benchmark_items": 8, "suites": {"mine": suite}}
    settings["evaluate"]["many_recipes"] = many_recipes
    (folder / params.PARAMS_FILE).write_text(yaml.safe_dump(settings))


def run(folder: Path, stage: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage}"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def prepare(folder: Path) -> subprocess.CompletedProcess[str]:
    looked = run(folder, "inputs")
    return looked if looked.returncode else run(folder, "prepare")


def test_prepare_writes_model_data_and_docs(tmp_path: Path, tiny_qwen2: Path) -> None:
    project(tmp_path, tiny_qwen2, {"kind": "problems", "options": {"tasks": ["gcd", "power"]}})
    done = prepare(tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {split: items.load(tmp_path / paths.DATA, split) for split in items.SPLITS}
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 54,
        "calibration": 6,
        "evaluation": 60,
        "confirmation": 60,
        "benchmark": 8,
    }
    assert all(row.item.suite == "mine" and row.target_ids for rows in loaded.values() for row in rows)
    assert (tmp_path / paths.MODEL / "config.json").is_file()
    assert (tmp_path / paths.DATA_DOCS / "index.html").is_file()


def test_questions_that_differ_in_the_order_of_numbers_share_a_split(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = [{"question": f"What is {n} + 99?", "answer": n + 99} for n in range(102)]
    rows += [{"question": f"What is 99 +  {n}?", "answer": n + 99} for n in range(30)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project(tmp_path, tiny_qwen2, {"kind": "jsonl", "options": {"path": "mine.jsonl"}}, many_recipes="share_alpha")
    done = prepare(tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {split: items.load(tmp_path / paths.DATA, split) for split in items.SPLITS}
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 54,
        "calibration": 6,
        "evaluation": 60,
        "confirmation": 0,
        "benchmark": 8,
    }
    forms = [{items.normal_form(row.item.question) for row in rows} for rows in loaded.values()]
    assert sum(map(len, forms)) == len(set().union(*forms)) < 128
