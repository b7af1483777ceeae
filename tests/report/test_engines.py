"""The report's section about engines, and what it says of those that were never executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import paths
from report import engines, page
from stages import report, select
from tests.report import project
from trt.records import Compilation, Engine, EngineLayers, EngineMemory

MEMORY = EngineMemory(
    batch=16, context_tokens=512, weights_mib=9.1, kv_cache_mib=64, logits_mib=6, activation_mib=50.3,
    reserve_mib=768, target_mib=15360,
)  # fmt: skip
LAYERS = EngineLayers(
    engine_layers=232, matmuls={"FP16": 5, "INT8": 52}, int8_wanted=53,
    not_int8=["layers.3.mlp.down_proj (FP16, profile 1)"], attention=8, attention_fused=8,
)  # fmt: skip
T4 = Engine(
    target="t4", compute_capability="7.5", status="compiled", why=None, library="tensorrt-rtx",
    library_version="1.7.1.116", manifest_sha256="ab" * 32, plan_mib=26.1, build_s=2.3, timing_cache="new",
    memory=MEMORY, layers=LAYERS.model_copy(update={"not_int8": []}),
)  # fmt: skip
NOTHING = {"library": None, "library_version": None, "plan_mib": None, "layers": None, "manifest_sha256": None}
MADE = Compilation(
    variant="trt-int8",
    made_from="cd" * 32,
    profiles=["prefill: batch 1-16, 1-384 new tokens over 0 cached"],
    workspace_mib=4096,
    engines=[
        T4,
        T4.model_copy(update={"target": "l4", "layers": LAYERS}),
        T4.model_copy(update={"target": "small", "status": "refused", "why": "does not fit: 9 (weights)"} | NOTHING),
        T4.model_copy(
            update={"target": "h100", "status": "not_compiled_here", "why": "<b>does not support 9.0"} | NOTHING
        ),
    ],
)


def test_every_engine_is_a_row_and_a_lost_int8_layer_fails_it() -> None:
    rows = engines.rows([MADE], measured=[])
    assert [(row.target, row.verdict, row.status) for row in rows] == [
        ("t4", "pass", "compiled"),
        ("l4", "fail", "compiled"),
        ("small", "fail", "refused"),
        ("h100", "inconclusive", "not compiled here"),
    ]
    assert [row.measured for row in rows] == ["not measured here", "not measured here", "", ""]
    assert engines.rows([MADE], measured=["trt-int8"])[0].measured == "measured"
    assert engines.profiles([MADE, MADE]) == [f"{MADE.profiles[0]}; workspace 4,096 MiB."]
    assert rows[0].matmuls == "5 FP16, 52 INT8"
    assert rows[0].memory == "897 of 15,360"
    assert rows[2].matmuls == "–"


def test_what_was_not_executed_is_said() -> None:
    said = engines.notes([MADE], measured=[])
    assert "Engines of trt-int8 for t4, l4: compiled and inspected, not measured here" in said[0]
    assert "make test-gpu" in said[0]
    assert said[1:] == [
        "Engine of trt-int8 for small: does not fit: 9 (weights).",
        "Engine of trt-int8 for h100: <b>does not support 9.0.",
    ]
    assert engines.notes([MADE], measured=["trt-int8"]) == said[1:]


def test_the_page_has_them(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.build(tmp_path, tiny_qwen2)
    project.set_recipe(tmp_path, "trt-int8", {"quantizer": "trt_int8", "runtime": "tensorrt", "options": {}})
    monkeypatch.chdir(tmp_path)
    select.main()
    none = MADE.model_copy(update={"variant": "fp32", "profiles": [], "engines": []})
    none.save(paths.ENGINES / "fp32" / "compile.json")
    report.main()
    assert 'id="engines"' not in page.INDEX.read_text(), "nothing was compiled"

    MADE.save(paths.ENGINES / "trt-int8" / "compile.json")
    report.main()
    html = page.INDEX.read_text()
    assert 'id="engines"' in html
    assert '<a href="#engines">' in html
    assert "layers.3.mlp.down_proj (FP16, profile 1)" in html
    assert "&lt;b&gt;does not support 9.0" in html
    assert "not measured here" in page.SUMMARY.read_text()
