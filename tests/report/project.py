"""A project folder as `dvc repro` leaves it before `select`: params, real variant folders, records about them.

The variants are the tiny model itself on the `torch` runtime, so that they load and answer.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.records import Benchmark
from core import paths
from evaluation.records import Evaluation
from models import manifest
from pipelines import params
from selection.records import Confirmation
from tests.report import fixtures

ROOT = Path(__file__).parents[2]
VARIANTS = ("fp32", "int8-static")
SHARED_ALPHA = {"many_recipes": "share_alpha", "alpha": 0.2, "alpha_shares": 4}  # the records are at 0.05 each


def build(root: Path, model: Path, **select: Any) -> params.Params:
    """Write the project into `root` and return its params; `select` changes keys of that section."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["select"].update(select)
    raw["evaluate"] |= SHARED_ALPHA
    raw["recipes"] = {
        name: {"quantizer": "none", "runtime": "torch", "options": {}, "margin_points": fixtures.SHAPES[name].margin}
        for name in VARIANTS
    }
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    settings = params.load(root / "params.yaml")
    shutil.copytree(model, root / paths.MODEL)
    for name in VARIANTS:
        folder = root / paths.VARIANTS / name
        shutil.copytree(model, folder)
        facts = {"weights": "bfloat16", "compute": "float32"}
        manifest.write(folder, variant=name, recipe=settings.recipe(name), model_folder=model, facts=facts)
        save(root, fixtures.evaluation(name), fixtures.benchmark(name))
    Confirmation(variant=None, manifest_sha256=None, why="the recipes share alpha").save(root / paths.CONFIRMATION)
    return settings


def set_recipe(root: Path, name: str, recipe: dict[str, Any]) -> None:
    """Add the recipe `name` to params.yaml in `root`, or put this one in its place."""
    path = root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["recipes"][name] = recipe
    path.write_text(yaml.safe_dump(raw, sort_keys=False))


def save(root: Path, evaluation: Evaluation, benchmark: Benchmark) -> None:
    """Save both records as being about the folder that is there, on the runtime it is for."""
    digest = manifest.digest(root / paths.VARIANTS / evaluation.variant)
    about = {"manifest_sha256": digest, "runtime": "torch"}
    evaluation.model_copy(update=about).save(root / paths.EVALUATION / f"{evaluation.variant}.json")
    benchmark.model_copy(update=about).save(root / paths.BENCHMARK / f"{benchmark.variant}.json")
