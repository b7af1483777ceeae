"""What is decided around TensorRT without it: the library, the profiles, the memory's sum, reading what was built."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import RuntimeFault
from host.gpu import Card
from models import families
from pipelines import params
from trt import build, inspect, library, make, profiles
from trt.library import Library
from trt.params import CompileParams

RTX = Library("tensorrt-rtx", "1.7", SimpleNamespace(ComputeCapability=SimpleNamespace(SM75=1, SM89=2)))
PROPER = Library("tensorrt", "11.4", SimpleNamespace())
H200, L4 = Card("NVIDIA H200", "9.0", 143771), Card("NVIDIA L4", "8.9", 23034)


# ── which library ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("capability", "libraries", "card", "chosen"),
    [
        ("8.9", [RTX], None, "tensorrt-rtx"),
        ("8.9", [PROPER, RTX], None, "tensorrt-rtx"),
        ("8.9", [PROPER, RTX], L4, "tensorrt"),
        ("7.5", [PROPER, RTX], L4, "tensorrt-rtx"),
        ("9.0", [PROPER, RTX], H200, "tensorrt"),
    ],
)
def test_the_library_that_can_compile_is_chosen(
    capability: str, libraries: list[Library], card: Card | None, chosen: str
) -> None:
    found, why = library.choose(capability, libraries, card)
    assert found is not None
    assert (found.name, why) == (chosen, None)


@pytest.mark.parametrize(
    ("libraries", "card", "why"),
    [
        ([], None, "neither tensorrt nor tensorrt_rtx is installed"),
        ([RTX], H200, "TensorRT-RTX 1.7 does not support compute capability 9.0"),
        ([PROPER], None, "compiles for the GPU at hand, and there is none"),
        ([PROPER, RTX], L4, "compiles for the GPU at hand, NVIDIA L4"),
    ],
)
def test_without_one_the_reason_is_given(libraries: list[Library], card: Card | None, why: str) -> None:
    found, told = library.choose("9.0", libraries, card)
    assert found is None
    assert why in str(told)


def test_what_is_installed_is_found_and_a_broken_one_is_passed_over() -> None:
    def load(name: str) -> Any:
        if name == "tensorrt":
            raise OSError("libnvinfer.so.11: cannot open shared object file")
        if name == "tensorrt_rtx_bindings":
            return SimpleNamespace(__version__="1.7")
        raise ImportError(name)

    assert [(one.name, one.version) for one in library.installed(load)] == [("tensorrt-rtx", "1.7")]
    assert [one.name for one in library.installed()] == ["tensorrt-rtx"], "from requirements.lock"


@pytest.mark.parametrize(
    ("libraries", "card", "why"),
    [
        ([RTX], None, "no NVIDIA GPU on this machine"),
        ([RTX], H200, "TensorRT-RTX 1.7 does not run on compute capability 9.0 (NVIDIA H200)"),
        ([PROPER, RTX], H200, None),
        ([RTX], L4, None),
        ([], L4, library.NONE_INSTALLED),
    ],
)
def test_whether_engines_can_be_executed(libraries: list[Library], card: Card | None, why: str | None) -> None:
    assert library.why_not_run(libraries, card) == why


# ── profiles ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_profiles_cover_every_batch_once_in_both_phases() -> None:
    planned = profiles.plan(CompileParams(batches=[1, 4, 16], prefill_tokens=32, context_tokens=64))
    for batch in range(1, 17):
        assert [one.phase for one in planned if one.admits(batch, 1, 1)] == ["decode"]
        assert [one.phase for one in planned if one.admits(batch, 32, 0)] == ["prefill"]
    assert profiles.from_json(json.loads(json.dumps(profiles.to_json(planned)))) == planned


def test_shapes_are_those_of_the_graph(tiny_qwen2: Path) -> None:
    decode = profiles.plan(CompileParams(batches=[16], prefill_tokens=32, context_tokens=64))[1]
    shapes = decode.shapes(families.read(tiny_qwen2))
    assert shapes["input_ids"] == ((1, 1), (16, 1), (16, 1))
    assert shapes["attention_mask"] == ((1, 2), (16, 33), (16, 64))
    assert shapes["past_key_values.1.value"] == ((1, 2, 1, 16), (16, 2, 32, 16), (16, 2, 63, 16))


def test_a_request_beyond_every_profile_is_refused_with_the_list_of_them() -> None:
    planned = profiles.plan(CompileParams(batches=[16], prefill_tokens=32, context_tokens=64))
    assert profiles.choose(planned, 16, 1, 63) == 1
    for batch, length, past in ((17, 1, 1), (1, 33, 0), (1, 1, 64), (1, 2, 1)):
        with pytest.raises(RuntimeFault, match=f"batch {batch} with {length} new tokens over {past} cached") as told:
            profiles.choose(planned, batch, length, past)
        assert "decode: batch 1-16, 1 new tokens over 1-63 cached" in str(told.value)


@pytest.mark.parametrize("wrong", [{"batches": [4, 1]}, {"batches": [0, 1]}, {"prefill_tokens": 99}])
def test_params_that_make_no_profile_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompileParams.model_validate({"prefill_tokens": 32, "context_tokens": 64} | wrong)


def test_the_shipped_params_compile_for_the_guides_cards() -> None:
    shipped = params.load(Path(__file__).parents[2] / "params.yaml")
    assert shipped.compile.workspace_mib == 4096
    assert {one.compute_capability for one in shipped.compile.targets.values()} == {"7.5", "8.0", "8.6", "8.9", "9.0"}


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_sum_counts_the_cache_twice_and_every_position_of_the_logits(tiny_qwen2: Path) -> None:
    architecture = families.read(tiny_qwen2)
    wanted = CompileParams(batches=[16], prefill_tokens=32, context_tokens=64, reserve_mib=100)
    found = make.memory_needed(architecture, wanted, 200, weights_bytes=50 << 20, activation_bytes=30 << 20)
    assert found.kv_cache_mib * 2**20 == 2 * (2 * 2 * 2 * 16 * 2) * 16 * 64
    assert found.logits_mib * 2**20 == 16 * 32 * architecture.vocabulary * 2
    assert found.total_mib == pytest.approx(180 + found.kv_cache_mib + found.logits_mib)
    assert make.refusal(found) is None
    why = make.refusal(found.model_copy(update={"target_mib": 180}))
    assert why is not None
    assert "50 (weights) + " in why
    assert "of batch 16 x 64 tokens" in why
    assert "30 (activations) + 100 (reserve) = 18" in why
    assert "the target has 180 MiB: lower compile.batches" in why
    hopeless = make.refusal(found.model_copy(update={"target_mib": 140}))
    assert hopeless is not None, "no batch is small enough for weights of 50 MiB beside a reserve of 100"
    assert "the target has 140 MiB: the weights alone are too large" in hopeless


# ── timing cache ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_damaged_timing_cache_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cache"
    assert build.read_timings(path) == (b"", "new")
    build.write_timings(path, b"a\nb")
    assert build.read_timings(path) == (b"a\nb", "reused")
    for content in (b"", b"a\nb", b"\xff\n", path.read_bytes()[:-1]):
        path.write_bytes(content)
        assert build.read_timings(path) == (b"", "remade")
        assert "damaged" in capsys.readouterr().err


def test_a_timing_cache_that_the_library_refuses_is_remade(tmp_path: Path) -> None:
    class Config:
        def create_timing_cache(self, blob: bytes) -> bytes:
            return blob

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            return cache == b"" and not ignore_mismatch

    build.write_timings(tmp_path / "cache", b"of another GPU")
    assert build.attach_timings(Config(), tmp_path / "cache") == "remade"


# ── what was built ────────────────────────────────────────────────────────────────────────────────────────────────
def _layer(name: str, kind: str, inputs: list[str], constants: list[str], nodes: list[str]) -> str:
    """One line as the builder of TensorRT-RTX 1.7.1 writes it, shortened."""

    def tensors(types: list[str]) -> str:
        told = ", ".join(f"{{ Name: t, Dimensions: [-1], Datatype: {one}, Format: (Linear) row }}" for one in types)
        return f"[ {told} ]" if types else "[]"

    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: {tensors(inputs)}, Constants: {tensors(constants)}, "
        f"Outputs: {tensors(['Half'])}, TacticName: , StreamId: 0, Metadata: {metadata}"
    )


TOLD = "Layers:\n" + "\n".join(
    [
        _layer("layers.0.q+layers.0.k_myl1_2", "gemm", ["Int8"], ["Int8", "Float"], ["layers.0.q", "layers.0.k"]),
        _layer("__myl_MulAdd_myl1_3", "kgen", ["Half"], [], ["layers.0.q"]),
        _layer("_gemv_mha_v1_myl1_4", "kgen", ["Half"], [], ["attention"]),
        _layer("layers.0.q [profile 1]+layers.0.k [profile 1]_myl3_2", "gemm", ["Half"], ["Half"], ["layers.0.q"]),
        _layer("scores_myl3_3", "gemm", ["Half"], [], ["attention"]),
        _layer("softmax_myl3_4", "kgen", ["Half"], [], ["attention"]),
        "Bindings:",
        "Name: input_ids",
    ]
)


def test_precisions_and_fusion_are_read_in_every_profile() -> None:
    layers = inspect.from_log(["[INFO] before", TOLD])
    assert [layer.profile for layer in layers] == [0, 0, 0, 1, 1, 1]
    found = inspect.summarise(layers, ["layers.0.q", "layers.0.gone"], ["layers.0.q"], ["attention"], profiles=2)
    assert found.matmuls == {"differs by profile": 1, "unknown": 1}
    assert found.not_int8 == ["layers.0.q (FP16, profile 1)"]
    assert (found.attention, found.attention_fused) == (1, 0), "unfused in profile 1"
    assert inspect.summarise(layers[:3], [], [], ["attention"], profiles=1).attention_fused == 1


def test_the_inspectors_json_says_the_same() -> None:
    told = {
        "Layers": [
            {
                "Name": "layers.0.q_myl1_2",
                "LayerType": "gemm",
                "Inputs": [{"Name": "x", "Dimensions": [-1, 256], "Format/Datatype": "Row major Int8 format"}],
                "Constants": [{"Name": "w", "Datatype": "Int8"}],
                "Metadata": "[ONNX Layer: layers.0.q]",
            }
        ]
    }
    [layer] = inspect.from_inspector(json.dumps(told))
    assert (layer.precision, layer.nodes) == ("INT8", frozenset({"layers.0.q"}))
