"""How much memory and disk a run takes, step by step, from a model's config.json alone: no weight is read.

    python -m pipelines.preflight                                  the model and the recipes of params.yaml
    python -m pipelines.preflight --model FOLDER --recipes fp16 int8-weight --json

    {"memory_gib": 107.6, "disk_gib": 412.3, "steps": [{"name": "prepare", "memory_gib": 1.0, "disk_gib": 28.4}, ...]}

Memory is that of the step that takes the most, disk the sum. Ends with 1 and the reason where this machine has less.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from core import cli, paths
from models import families, preflight, source
from models.preflight import GIB, Estimate
from pipelines import params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="with a config.json; default: model.source")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="of params.yaml; default: all of them")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    given = parser.parse_args()
    settings = params.load()
    recipes = {name: settings.recipe(name) for name in given.recipes or settings.recipes}
    architecture = families.read(given.model) if given.model else source.architecture_of(settings.model)
    need = preflight.estimate(architecture, recipes, settings.calibrate.sample_rows)
    print(json.dumps(_as_dict(need)) if given.json else _table(need))
    preflight.check(architecture, recipes, paths.ARTIFACTS.absolute().parent, settings.calibrate.sample_rows)


def _as_dict(need: Estimate) -> dict[str, object]:
    steps = [
        {"name": step.name, "memory_gib": _gib(step.memory_bytes), "disk_gib": _gib(step.disk_bytes)}
        for step in need.steps
    ]
    return {"memory_gib": _gib(need.peak.memory_bytes), "disk_gib": _gib(need.disk_bytes), "steps": steps}


def _gib(size: int) -> float:
    return round(size / GIB, 3)


def _table(need: Estimate) -> str:
    rows = [(step.name, step.memory_bytes, step.disk_bytes) for step in need.steps]
    rows.append((f"peak ({need.peak.name}), sum", need.peak.memory_bytes, need.disk_bytes))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:{width}} {memory / GIB:10.2f} {disk / GIB:9.2f}" for name, memory, disk in rows]
    return "\n".join([f"{'step':{width}} memory GiB  disk GiB", *lines])


if __name__ == "__main__":
    cli.run(main)
