"""How far right graphs of real shapes are from torch, as times its own rounding; -s prints docs/figures.md's table.

python -m pytest -m slow tests/export/test_check_real.py -s
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.large import SHAPE
from benchmarks.random_model import RandomModel
from core.errors import ExportError
from data import items, questions
from data.suites import problems
from export import check, fused, standard
from models import tokenizer
from pipelines import fetch_real_model
from tests.export import faults
from tests.models import made

pytestmark = pytest.mark.slow

ITEMS = 32


def _shipped(folder: Path) -> Path:
    model = Path(__file__).parents[2] / "models" / "reference"
    asked = list(problems.items(problems.Options(), ITEMS, seed=0))
    items.save(folder / "data", "calibration", items.tokenize(asked, tokenizer.load(model)))
    return model


def _smollm2(folder: Path) -> Path:
    model = fetch_real_model.fetch()
    asked = [questions.item(row) for row in questions.rows()[:ITEMS]]
    items.save(folder / "data", "calibration", items.tokenize(asked, tokenizer.load(model)))
    return model


def _random(folder: Path) -> Path:
    """Of Qwen2.5-0.5B's shape; its calibration prompts are written beside it."""
    random = RandomModel(folder, SHAPE, {}, calibration_items=4, calibration_tokens=64)
    random.prepare([], threads=2)
    return random.model


# A random model's attention is nearly even, so that its scale hardly matters: float16's rounding may hide it.
@pytest.mark.parametrize(
    ("make", "seen_in"),
    [
        pytest.param(_shipped, ("float32", "float16"), id="shipped"),
        pytest.param(_smollm2, ("float32", "float16"), id="smollm2"),
        pytest.param(_random, ("float32",), id="random-0.5B"),
    ],
)
def test_right_graphs_are_accepted_and_a_scale_2_percent_off_is_not(
    make: Callable[[Path], Path], seen_in: tuple[str, ...], tmp_path: Path
) -> None:
    model = make(tmp_path)
    export, graph = tmp_path / "export", tmp_path / "graph"
    fused.export(model, export / "fused", made.THREADS)
    standard.export(model, export / "standard", made.THREADS)
    original = check.Original(model, tmp_path / "data", made.THREADS)
    print("\n| graph | torch's own rounding, mean / worst | graph | times |\n|---|---|---|---|")
    for dtype in ("float32", "float16"):
        for kind in faults.KINDS:
            found = original.compare(faults.planted(export, kind, dtype, None, graph))
            print(
                f"| {kind} {dtype} | {found.torch_kl_mean_nats:.1e} / {found.torch_kl_max_nats:.1e} "
                f"| {found.kl_mean_nats:.1e} / {found.kl_max_nats:.1e} "
                f"| {found.kl_mean_nats / found.torch_kl_mean_nats:.1f} / "
                f"{found.kl_max_nats / found.torch_kl_max_nats:.1f} |",
                flush=True,
            )
            if dtype in seen_in:
                with pytest.raises(ExportError, match="differs from torch by a KL"):
                    original.compare(faults.planted(export, kind, dtype, faults.attention_scale_times(1.02), graph))
