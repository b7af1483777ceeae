"""Every shipped recipe makes a variant that answers, with the size it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core import files, plugins
from export import check
from export.graph import Graph
from models import manifest
from pipelines import params
from quantizers import Context, static_int8, weight_only
from quantizers.parts import plan, smooth
from runtimes import ort
from tests import tiny
from tests.models import made

SHIPPED = params.load(Path(__file__).parents[2] / "params.yaml").recipes
RECIPES = {name: recipe for name, recipe in SHIPPED.items() if recipe.runtime == "ort"}  # the others: their own files
# Largest accepted difference of a logit, as a share of the largest, on a random model (a trained one is kinder).
LOGIT_DIFFERENCE = {
    "fp32": 1e-4,
    "fp16": 1e-2,
    "int8-weight": 0.15,
    "int4-weight": 0.8,
    "int8-static": 0.4,
    "int8-dynamic": 0.3,
}


def _make(name: str, context: Context, folder: Path) -> Path:
    return made.variant(name, RECIPES[name], context, folder)


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_makes_a_variant_that_follows_the_original(name: str, workshop: Context, tmp_path: Path) -> None:
    folder = _make(name, workshop, tmp_path / name)
    assert manifest.verify(folder).variant == name
    tokens = np.random.default_rng(0).integers(10, 290, (2, 20)).tolist()
    reference = plugins.load("runtimes", "torch").load(workshop.model_folder, 2).logits(tokens)
    runtime = ort.load(folder, 2)
    try:
        for expected, actual in zip(reference, runtime.logits(tokens), strict=True):
            assert np.abs(actual - expected).max() / np.abs(expected).max() < LOGIT_DIFFERENCE[name]
        assert all(len(answer.token_ids) <= 5 for answer in runtime.generate(tokens, 5))
    finally:
        runtime.close()


def test_same_work_gives_the_same_manifest(workshop: Context, tmp_path: Path) -> None:
    for name in ("int8-weight", "int4-weight", "int8-static", "int8-dynamic"):
        first, second = _make(name, workshop, tmp_path / "a" / name), _make(name, workshop, tmp_path / "b" / name)
        assert manifest.digest(first) == manifest.digest(second)


def test_int8_artifacts_shrink_by_the_weights_share(workshop: Context, tmp_path: Path) -> None:
    """Weights go from 4 bytes to about 1; the tokenizer and graph of a tiny model stay, so only data counts."""
    data = {
        name: (_make(name, workshop, tmp_path / name) / "model.onnx.data").stat().st_size
        for name in ("fp32", "fp16", "int8-weight", "int8-static", "int8-dynamic")
    }
    assert data["fp16"] < 0.52 * data["fp32"]
    assert all(share < 0.32 * data["fp32"] for name, share in data.items() if name.startswith("int8"))
    assert files.folder_bytes(tmp_path / "int8-weight") < files.folder_bytes(tmp_path / "fp32")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        weight_only.Options.model_validate({"bits": 8, "blok_size": 32})


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def other_features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Embeddings tied to the head (as in the small Qwen2.5 and Llama 3.2), and on Llama every bias."""
    folder = tmp_path_factory.mktemp(request.param)
    biases = {"attention_bias": True, "mlp_bias": True} if request.param == "llama" else {}
    model = tiny.make(folder / "model", request.param, tie_word_embeddings=True, **biases)
    return made.context(model, folder, made.items(model, 32))


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_work_with_tied_embeddings_and_biases(name: str, other_features: Context, tmp_path: Path) -> None:
    graph = _make(name, other_features, tmp_path / name) / "model.onnx"
    tokens = np.random.default_rng(0).integers(10, 290, (2, 20)).tolist()
    expected = np.stack(plugins.load("runtimes", "torch").load(other_features.model_folder, 2).logits(tokens))
    actual = np.stack(ort.load(graph.parent, 2).logits(tokens))
    assert np.abs(actual - expected).max() / np.abs(expected).max() < LOGIT_DIFFERENCE[name]


def test_smoothing_leaves_what_a_graph_with_tied_embeddings_and_biases_computes(
    other_features: Context, tmp_path: Path
) -> None:
    graph = Graph(other_features.export_folder / "fused" / "model.onnx")
    options = static_int8.Options(smooth_alphas=[0.5])  # not of the head: its weight is the embedding's
    made = plan.make(graph, other_features.calibration_folder, options, static_int8.clip, smooth.fold)
    assert {choice.alpha for site, choice in made.items() if site != "head"} == {0.5}
    graph.save(tmp_path)
    original = check.Original(other_features.model_folder, other_features.data_folder, 2)
    original.compare(tmp_path / "model.onnx")
