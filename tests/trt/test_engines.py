"""Engines compiled for every target, read back, refused and found again; no GPU is needed for that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from core import paths
from core.errors import EngineError, IntegrityError, RuntimeFault
from export import check, fused
from host.gpu import Card
from models import manifest
from models.params import Recipe
from pipelines import params
from quantizers import Context
from tests.models.made import variant as make_variant
from trt import build, engines, inspect, library, make, profiles
from trt.make import Source
from trt.params import CompileParams, TargetParams

SHIPPED = params.load(Path(__file__).parents[2] / "params.yaml")
SMALL = CompileParams(batches=[16], prefill_tokens=64, context_tokens=128)
L4 = SHIPPED.compile.targets["l4"]
LIBRARIES = library.installed()


@pytest.fixture(scope="module", params=["trt_fp16", "trt_int8"])
def variant(request: pytest.FixtureRequest, workshop: Context, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return _variant(request.param, workshop, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def int8(workshop: Context, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return _variant("trt_int8", workshop, tmp_path_factory.mktemp("int8"))


def _variant(quantizer: str, workshop: Context, folder: Path) -> Source:
    recipe = Recipe(quantizer=quantizer, runtime="tensorrt")
    return make.source("v", make_variant("v", recipe, workshop, folder), recipe, workshop.model_folder)


@pytest.mark.parametrize("target", SHIPPED.compile.targets)
def test_an_engine_for_every_target_comes_out_as_it_was_meant(variant: Source, target: str, tmp_path: Path) -> None:
    wanted = SHIPPED.compile.targets[target]
    made = make.engine(variant, target, wanted, SMALL, LIBRARIES, None, tmp_path / "engine", tmp_path)
    if wanted.compute_capability == "9.0":
        assert made.status == "not_compiled_here"
        assert "does not support compute capability 9.0" in str(made.why)
        assert not (tmp_path / "engine").exists()
        return
    assert made.status == "compiled", made.why
    assert made.layers is not None
    meant = variant.made.facts["int8_layers"]
    assert isinstance(meant, list)
    layers = variant.made.architecture.layers
    assert made.layers.not_int8 == []
    assert made.layers.matmuls.get("INT8", 0) == len(meant) == made.layers.int8_wanted
    assert sum(made.layers.matmuls.values()) == 7 * layers + 1
    assert set(made.layers.matmuls) <= {"INT8", "FP16"}
    assert (made.layers.attention, made.layers.attention_fused) == (layers, layers)
    assert made.memory.activation_mib is not None

    written = manifest.verify(tmp_path / "engine")
    assert manifest.digest(tmp_path / "engine") == made.manifest_sha256
    assert written.facts["made_from"] == variant.digest
    assert (written.facts["target"], written.facts["workspace_mib"]) == (target, 4096)
    assert written.facts["library_version"] == LIBRARIES[0].version
    assert profiles.from_json(written.facts["profiles"]) == profiles.plan(SMALL)
    assert {"engine.plan", "tokenizer.json", "genai_config.json"} <= set(written.files)


def test_the_int8_graph_is_close_to_torch(int8: Source, original: check.Original) -> None:
    """Through onnxruntime, which computes what the Q/DQ pairs say."""
    dtype, ours = check._run(int8.folder / fused.GRAPH, original.rows, original.architecture, 2)
    assert dtype == "float16"
    assert np.corrcoef(np.concatenate(ours).ravel(), np.concatenate(original.logits).ravel())[0, 1] > 0.99


def test_a_layer_that_lost_its_int8_is_named(int8: Source, workshop: Context, tmp_path: Path) -> None:
    """Its activation is no longer quantized: the builder then multiplies in fp16."""
    meant = int8.made.facts["int8_layers"]
    assert isinstance(meant, list)
    lost = next(str(name) for name in meant if str(name).endswith("o_proj"))
    folder = tmp_path / "variant"
    shutil.copytree(int8.folder, folder)
    model = onnx.load(folder / fused.GRAPH, load_external_data=False)
    node = next(node for node in model.graph.node if node.name == lost)
    node.input[0] = node.input[0].removesuffix("/dequantized")
    onnx.save(model, folder / fused.GRAPH)
    manifest.write(folder, variant="v", recipe=int8.recipe, model_folder=workshop.model_folder, facts=int8.made.facts)
    changed = make.source("v", folder, int8.recipe, workshop.model_folder)
    made = make.engine(changed, "l4", L4, SMALL, LIBRARIES, None, tmp_path / "engine", tmp_path)
    assert made.layers is not None
    assert made.layers.not_int8 == [f"{lost} (FP16, profile 0)", f"{lost} (FP16, profile 1)"]


@pytest.mark.parametrize(("domain", "operator"), [("", "MelWeightMatrix"), ("example", "Unheard")])
def test_an_operator_that_tensorrt_does_not_know_is_named(
    int8: Source, tmp_path: Path, domain: str, operator: str
) -> None:
    graph = _with_operator(int8.folder, tmp_path / "graph", domain, operator)
    with pytest.raises(EngineError, match=f"operator {operator} at node strange"):
        _build(graph, int8, tmp_path)


def _with_operator(variant: Path, folder: Path, domain: str, operator: str) -> Path:
    shutil.copytree(variant, folder)
    model = onnx.load(folder / fused.GRAPH, load_external_data=False)
    inputs = ["position_ids"] * (5 if operator == "MelWeightMatrix" else 1)
    model.graph.node.insert(0, helper.make_node(operator, inputs, ["odd"], name="strange", domain=domain))
    model.graph.output.append(helper.make_tensor_value_info("odd", onnx.TensorProto.FLOAT, None))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, folder / fused.GRAPH)
    return folder / fused.GRAPH


def _build(graph: Path, variant: Source, timings: Path) -> build.Built:
    planned = profiles.plan(SMALL)
    return build.build(LIBRARIES[0], graph, "8.9", variant.made.architecture, planned, 4096, timings / "cache.timing")


def test_a_corrupted_timing_cache_is_reported_and_remade(
    int8: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache.timing"
    assert _build(int8.folder / fused.GRAPH, int8, tmp_path).timing_cache == "new"
    assert _build(int8.folder / fused.GRAPH, int8, tmp_path).timing_cache == "reused"
    cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    assert _build(int8.folder / fused.GRAPH, int8, tmp_path).timing_cache == "remade"
    assert f"timing cache {cache} is damaged" in capsys.readouterr().err
    assert _build(int8.folder / fused.GRAPH, int8, tmp_path).timing_cache == "reused"


def test_what_cannot_fit_is_refused_before_compiling(int8: Source, tmp_path: Path) -> None:
    small = TargetParams(compute_capability="8.9", memory_mib=700)
    made = make.engine(int8, "small", small, SMALL, [], None, tmp_path / "engine", tmp_path)
    assert (made.status, made.build_s) == ("refused", None)
    assert "does not fit" in str(made.why)
    assert "768 (reserve)" in str(made.why)
    assert "the target has 700 MiB" in str(made.why)


def test_what_does_not_fit_once_its_activations_are_known_is_refused_and_leaves_nothing(
    int8: Source, tmp_path: Path
) -> None:
    fits = make.engine(int8, "l4", L4, SMALL, LIBRARIES, None, tmp_path / "fits", tmp_path)
    assert fits.memory.activation_mib
    tight = L4.model_copy(update={"memory_mib": fits.memory.total_mib - fits.memory.activation_mib / 2})
    made = make.engine(int8, "tight", tight, SMALL, LIBRARIES, None, tmp_path / "tight", tmp_path)
    assert made.status == "refused"
    assert "(activations)" in str(made.why)
    assert not (tmp_path / "tight").exists()


def test_an_engine_is_found_by_its_card_and_verified(int8: Source, tmp_path: Path) -> None:
    root, card = tmp_path / "engines", Card("NVIDIA L4", "8.9", 23034)
    made = make.engine(int8, "l4", L4, SMALL, LIBRARIES, None, root / "v" / "l4", tmp_path)
    assert made.status == "compiled"
    folder = engines.made_of(int8.folder, card, root)
    assert folder == root / "v" / "l4"
    found = engines.read(folder)
    assert found.profiles == profiles.plan(SMALL)
    assert found.library == LIBRARIES[0]
    assert found.architecture == int8.made.architecture

    assert engines.made_of(int8.folder, Card("Tesla T4", "7.5", 15360), root) is None
    plan = folder / make.PLAN
    plan.write_bytes(plan.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"changed: engine\.plan"):
        engines.read(folder)


def test_an_engine_of_another_version_is_refused(
    int8: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.engine(int8, "l4", L4, SMALL, LIBRARIES, None, tmp_path / "l4", tmp_path)
    monkeypatch.setattr(library, "installed", lambda: [replace(LIBRARIES[0], version="1.8")])
    with pytest.raises(RuntimeFault, match=r"compiled by tensorrt-rtx 1\.7\.1\.116, which is not installed"):
        engines.read(tmp_path / "l4")


def test_a_card_without_an_engine_gets_one_that_is_kept(
    int8: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    shutil.copytree(int8.model_folder, tmp_path / paths.MODEL)
    monkeypatch.chdir(tmp_path)
    card = Card("NVIDIA A10", "8.6", 23028)
    first = engines.load(int8.folder, card)
    assert first.profiles == profiles.plan(SHIPPED.compile)
    assert "compiling v for NVIDIA A10" in capsys.readouterr().err
    assert engines.load(int8.folder, card).plan == first.plan
    assert "compiling" not in capsys.readouterr().err
    with pytest.raises(RuntimeFault, match=r"no engine of v for NVIDIA H200: .* does not support"):
        engines.load(int8.folder, Card("NVIDIA H200", "9.0", 143771))
    assert len(list((engines.CACHE / "v").iterdir())) == 1, "what failed leaves nothing"


def test_the_builders_wording_is_checked() -> None:
    with pytest.raises(EngineError, match="logged no layers"):
        inspect.from_log(["[INFO] nothing of use"])
