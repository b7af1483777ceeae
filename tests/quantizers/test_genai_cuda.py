"""Graphs for CUDA are built on any machine: for one stream as a CUDA graph, for many with paged attention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import QuantizationError
from export import fused
from models import families
from quantizers import Context, genai_cuda
from runtimes import ort_cuda


@pytest.fixture(scope="module", params=[("fp16", "one"), ("int4", "many")], ids=str)
def built(
    request: pytest.FixtureRequest, tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    precision, serve = request.param
    folder = tmp_path_factory.mktemp(serve)
    context = Context(tiny_qwen2, folder, folder, folder, 2, 0)
    options = genai_cuda.Options(precision=precision, serve=serve, max_batch=64, kv_cache_mib=16)
    facts = genai_cuda.quantize(context, options, folder)
    assert facts["weights"] == precision
    return serve, folder


def test_the_graph_is_built_for_what_it_serves(built: tuple[str, Path], tiny_qwen2: Path) -> None:
    serve, folder = built
    settings = json.loads((folder / "genai_config.json").read_text())
    [provider] = settings["model"]["decoder"]["session_options"]["provider_options"]
    assert provider["cuda"]["enable_cuda_graph"] == ("1" if serve == "one" else "0")
    assert ort_cuda.is_paged(folder) == (serve == "many")
    if serve == "many":
        batching, a = settings["engine"]["dynamic_batching"], families.read(tiny_qwen2)
        assert batching["max_batch_size"] == 64
        token_bytes = a.layers * a.kv_heads * a.head_dim * 2 * 2  # keys and values in 16 bits
        assert batching["num_blocks"] == 16 * 2**20 // (batching["block_size"] * token_bytes)
    assert (folder / fused.GRAPH_DATA).stat().st_size > 0


def test_a_cache_of_no_block_is_refused(tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genai_cuda, "BLOCK_TOKENS", 2**20)
    options = genai_cuda.Options(precision="fp16", serve="many", kv_cache_mib=1)
    with pytest.raises(QuantizationError, match="kv_cache_mib 1 holds no block of 1048576 tokens"):
        genai_cuda.quantize(Context(tiny_qwen2, tmp_path, tmp_path, tmp_path, 2, 0), options, tmp_path)
