"""A project folder with everything `stages.evaluate` reads: a tiny real model, items, and versions that answer from a
table (see runtimes/canned.py)."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import runtimes
from core import paths
from data import items
from data.items import Prepared
from data.records import Item
from models import families, manifest, tokenizer
from models.params import Recipe

ROOT = Path(__file__).parents[2]
CHUNK_ITEMS, MAX_TOKENS, BUDGET = 32, 48, 256


def runtime_folders() -> list[str]:
    """Where runtimes are looked for: the project's own, and `canned` beside this file."""
    return [*runtimes.__path__, str(Path(__file__).parent / "runtimes")]


def rows(model_folder: Path, count: int = BUDGET) -> list[Prepared]:
    """Items of two tasks with prompts of uneven length."""
    made = [
        Item(
            id=f"item-{number}",
            suite="reasoning",
            kind="problems",
            task="add" if number % 2 else "subtract",
            question=f"What is {number} + {number % 7}?" + " Think." * (number % 3),
            answer=str(number + number % 7),
        )
        for number in range(count)
    ]
    return items.tokenize(made, tokenizer.load(model_folder))


def project(folder: Path, model_folder: Path, prepared: Sequence[Prepared], **evaluate: Any) -> None:
    """params.yaml with recipes `canned` and `original` (torch), the model and the evaluation split below `folder`."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["recipes"] = {name: {"quantizer": "none", "runtime": name, "options": {}} for name in ("canned", "torch")}
    params["generation"]["max_tokens"] = MAX_TOKENS
    params["evaluate"] |= {"chunk_items": CHUNK_ITEMS, "batch": CHUNK_ITEMS, "teacher_forced_items": 96, **evaluate}
    params["evaluate"].setdefault("margin_points", 3.0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(model_folder, folder / paths.MODEL)
    items.save(folder / paths.DATA, "evaluation", prepared)
    items.save(folder / paths.DATA, "text", [])


def version(
    folder: Path,
    model_folder: Path,
    prepared: Sequence[Prepared],
    wrong: float = 0.1,
    seed: int = 0,
    noise: float = 0.0,
    delay_s: float = 0.0,
) -> Path:
    """A version that answers a share `wrong` of the items wrongly, chosen by `seed`."""
    words = tokenizer.load(model_folder)
    answers = {}
    for row in prepared:
        luck = random.Random(f"{seed} {row.item.id}").random()
        said = row.item.answer if luck >= wrong else "0"
        ids = words.encode(f"so</think>\n\\boxed{{{said}}}")
        answers[" ".join(map(str, row.prompt_ids))] = [ids, True]
    vocabulary = families.read(model_folder).vocabulary
    folder.mkdir(parents=True, exist_ok=True)
    table = {"answers": answers, "noise": noise, "vocabulary": vocabulary, "delay_s": delay_s}
    (folder / "table.json").write_text(json.dumps(table))
    recipe = Recipe(quantizer="none", runtime="canned")
    manifest.write(folder, variant=folder.name, recipe=recipe, model_folder=model_folder, facts={})
    return folder


def command(*arguments: str) -> list[str]:
    """`python -m stages.evaluate` in a process that also knows the runtime `canned`."""
    script = (
        "import runtimes; from tests.evaluation import made; runtimes.__path__ = made.runtime_folders(); "
        "from core import cli; from stages import evaluate; cli.run(evaluate.main)"
    )
    return [sys.executable, "-c", script, *arguments]


def start(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
