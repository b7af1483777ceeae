"""What a quantizer says of itself. That it reads nothing else is held in tests/models/made.py, `variant`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core import plugins
from core.errors import DataError
from models.params import Recipe
from quantizers import Context, Traits
from quantizers.parts import version

DEFAULTS = Traits(inputs=())
ALL = {name: plugins.load("quantizers", name).TRAITS for name in plugins.known("quantizers")}


@pytest.mark.parametrize("name", ALL)
def test_every_quantizer_states_its_traits(name: str) -> None:
    assert isinstance(ALL[name], Traits)
    assert len(ALL[name].inputs) == len(set(ALL[name].inputs)) > 0


def test_a_cost_that_is_not_stated_is_taken_as_the_most_demanding_one() -> None:
    assert max(one.peak_of_fp32_weights for one in ALL.values()) == DEFAULTS.peak_of_fp32_weights
    assert max(one.bytes_per_parameter for one in ALL.values()) == DEFAULTS.bytes_per_parameter


def test_a_missing_input_is_named_before_any_work(workshop: Context, tmp_path: Path) -> None:
    gone = replace(workshop, calibration_folder=tmp_path / "calibration")
    recipe = Recipe(quantizer="static_int8", runtime="ort")
    with pytest.raises(DataError, match=r"calibration not found: .* reads the statistics; run `dvc repro`"):
        version.make("int8", recipe, gone, tmp_path)
    assert not list(tmp_path.iterdir())
    version.make("fp32", Recipe(quantizer="none", runtime="ort"), gone, tmp_path / "fp32")
