"""What the stages before quantize leave for a tiny model, made once a session: see `workshop` in conftest.py."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import quantizers
from calibration import run as calibration_run
from calibration import statistics
from calibration.params import CalibrateParams
from core import plugins
from data.items import Prepared, save
from data.records import Item
from export import fused, standard
from models import families
from models.params import Recipe
from quantizers import Context, Input
from quantizers.parts import version

THREADS = 2
CALIBRATE = CalibrateParams(prefill_items=16, decode_items=8, decode_steps=8, batch=4, sample_rows=128)


def items(model_folder: Path, count: int, seed: int = 0) -> list[Prepared]:
    """`count` items of random tokens, with prompts and solutions of uneven length."""
    vocabulary = families.read(model_folder).vocabulary
    rng = np.random.default_rng(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(int(token) for token in rng.integers(10, vocabulary, length))

    return [
        Prepared(
            Item(id=f"i{number}", suite="s", kind="problems", task="t", question=f"q{number}", answer="1"),
            tokens(6 + number % 5),
            tokens(12 + number % 7),
        )
        for number in range(count)
    ]


def context(model_folder: Path, folder: Path, rows: Sequence[Prepared]) -> Context:
    """Export and calibrate `model_folder` into `folder`."""
    save(folder / "data", "calibration", rows)
    fused.export(model_folder, folder / "export" / "fused", THREADS)
    standard.export(model_folder, folder / "export" / "standard", THREADS)
    kept = folder / "kept.safetensors"
    statistics.save(
        folder / "calibration" / statistics.FILE,
        calibration_run.run(model_folder, rows, CALIBRATE, THREADS, 0, kept),
    )
    return Context(model_folder, folder / "export", folder / "calibration", folder / "data", THREADS, 0)


def variant(name: str, recipe: Recipe, context: Context, folder: Path) -> Path:
    """What `quantize` leaves for `recipe` in `folder`, made of nothing but the inputs that its quantizer names."""
    quantizer, about = plugins.load("quantizers", recipe.quantizer), quantizers.traits(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        named = _only(about.inputs, context, Path(place))
        facts = quantizer.quantize(named, quantizers.options(name, recipe), folder)
    version.finish(name, recipe, context, folder, facts)
    return folder


def _only(inputs: Sequence[Input], context: Context, place: Path) -> Context:
    """`context` without what is not among `inputs`: links to the rest, below `place`."""
    (place / "export").mkdir()
    found: dict[Input, tuple[str, Path]] = {
        "weights": ("model", context.model_folder),
        "fused graph": ("export/fused", context.export_folder / "fused"),
        "standard graph": ("export/standard", context.export_folder / "standard"),
        "statistics": ("calibration", context.calibration_folder),
        "items": ("data", context.data_folder),
    }
    for name in inputs:
        link, path = found[name]
        (place / link).symlink_to(path)
    folders = (place / "model", place / "export", place / "calibration", place / "data")
    return Context(*folders, context.threads, context.seed)
