"""A name in params.yaml is the name of a plugin's file, and a name that is not says what to write."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core import plugins
from core.errors import ConfigError
from models.params import Recipe


def test_a_name_is_its_files_name() -> None:
    assert plugins.module_name("runtimes", "ort_cuda") == "runtimes.ort_cuda"
    assert plugins.load("quantizers", "none").__name__ == "quantizers.none"


def test_private_modules_and_folders_are_no_plugins() -> None:
    assert "parts" not in plugins.known("quantizers")
    assert not [name for name in plugins.known("runtimes") if name.startswith("_")]


@pytest.mark.parametrize(
    ("package", "name", "why"),
    [
        ("runtimes", "ort-cuda", "runtimes has no 'ort-cuda'; write 'ort_cuda', as its file is called"),
        ("quantizers", "gtpq", "quantizers has no 'gtpq'; known: checkpoint, "),
        ("quantizers", "../core/cli", "quantizers has no '../core/cli'; known: "),
    ],
)
def test_another_name_is_refused_with_the_right_one(package: str, name: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.load(package, name)
    assert str(caught.value).startswith(why)


def test_a_recipe_says_the_same_when_params_are_read() -> None:
    with pytest.raises(ValidationError, match="runtimes has no 'ort-cuda'; write 'ort_cuda'"):
        Recipe(quantizer="none", runtime="ort-cuda")
    with pytest.raises(ValidationError, match="quantizers has no 'weight-only'; write 'weight_only'"):
        Recipe(quantizer="weight-only", runtime="ort")


def test_a_recipe_names_its_runtime() -> None:
    with pytest.raises(ValidationError, match=r"runtime\n  Field required"):
        Recipe.model_validate({"quantizer": "none"})
