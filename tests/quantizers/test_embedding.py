"""Embedding and head in 8 bits: one tensor where a model ties them, the logits of two, and a wrong one is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from core.errors import QuantizationError
from export import fused
from export.graph import Graph
from models.params import Recipe
from quantizers import Context
from quantizers.parts import embedding
from runtimes import ort
from runtimes import torch as torch_runtime
from tests import tiny
from tests.models import made

TOKENS = np.random.default_rng(0).integers(10, 290, (2, 20)).tolist()
TABLE = "lm_head.MatMul.weight_int8"


def _context(model_folder: Path, folder: Path) -> Context:
    """What a quantizer that reads the fused graph alone starts from."""
    fused.export(model_folder, folder / "fused", made.THREADS)
    return Context(model_folder, folder, folder, folder, made.THREADS, 0)


def _made(context: Context, folder: Path, **options: object) -> Path:
    recipe = Recipe(quantizer="weight_only", runtime="ort", options={"bits": 8, "block_size": 64, **options})
    return made.variant("int8", recipe, context, folder)


def _logits(folder: Path) -> np.ndarray:
    runtime = ort.load(folder, made.THREADS)
    try:
        return np.stack(runtime.logits(TOKENS))
    finally:
        runtime.close()


def _off(model_folder: Path, folder: Path) -> float:
    """The largest difference of a logit from torch, as a share of the largest logit."""
    expected = np.stack(torch_runtime.load(model_folder, made.THREADS).logits(TOKENS))
    return float(np.abs(_logits(folder) - expected).max() / np.abs(expected).max())


# A hidden size that 16 does not divide has a padded last block.
@pytest.mark.parametrize(("family", "hidden"), [("llama", 64), ("qwen2", 96), ("llama", 72)])
def test_one_tied_tensor_gives_the_logits_of_two(family: str, hidden: int, tmp_path: Path) -> None:
    shape = {"hidden": hidden, "head_dim": 16}
    tied = tiny.make(tmp_path / "tied", family, tie_word_embeddings=True, **shape)
    two = tiny.make(tmp_path / "two", family, tie_word_embeddings=False, **shape)
    weights = load_file(tied / "model.safetensors")
    head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file(weights | head, two / "model.safetensors", metadata={"format": "pt"})
    one = _made(_context(tied, tmp_path / "tied-export"), tmp_path / "tied-int8")
    other = _made(_context(two, tmp_path / "two-export"), tmp_path / "two-int8")
    assert (_readers(one), _readers(other)) == (["GatherBlockQuantized", "MatMulNBits"], ["MatMulNBits"])
    assert np.array_equal(_logits(one), _logits(other))
    assert _off(tied, one) < 0.1


def _readers(folder: Path) -> list[str]:
    return sorted(node.op_type for node in Graph(folder / fused.GRAPH).consumers(TABLE))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A model of whose parameters the vocabulary has a quarter, as in SmolLM2-135M."""
    folder = tmp_path_factory.mktemp("tied")
    shape = {"vocab_size": 4096, "hidden": 256, "intermediate_size": 768, "layers": 4, "tie_word_embeddings": True}
    return _context(tiny.make(folder / "model", "llama", **shape, initializer_range=0.05), folder / "export")


def test_eight_bits_are_thirty_percent_of_fp32_with_the_embedding(tied: Context, tmp_path: Path) -> None:
    whole = (tied.export_folder / "fused" / fused.GRAPH_DATA).stat().st_size
    share = {
        bits: (_made(tied, tmp_path / str(bits), embedding_bits=bits) / fused.GRAPH_DATA).stat().st_size / whole
        for bits in (8, 32)
    }
    assert share[8] < 0.275
    assert share[32] > 0.4


def test_a_wrong_scale_and_a_wrong_head_are_seen(tied: Context, tmp_path: Path) -> None:
    """Both plants leave a graph that runs: only the logits tell."""
    assert _off(tied.model_folder, _made(tied, tmp_path / "right")) < 0.1
    for fault in (_swap_scales, _read_other_head):
        folder = _made(tied, tmp_path / fault.__name__)
        graph = Graph(folder / fused.GRAPH)
        fault(graph)
        graph.save(folder)
        assert _off(tied.model_folder, folder) > 0.5


def _swap_scales(graph: Graph) -> None:
    """Of a word's two blocks, in every row."""
    name = "lm_head.MatMul.weight_scales"
    graph.set_weight(name, graph.weight(name)[:, ::-1])


def _read_other_head(graph: Graph) -> None:
    """The head's rows are those of the next word; the embedding stays."""
    head = next(node for node in graph.model.graph.node if node.name == embedding.HEAD)
    tensor = numpy_helper.from_array(np.roll(graph.weight(TABLE), 1, axis=0), "other")
    graph.model.graph.initializer.append(tensor)
    head.input[1] = "other"


def test_a_lookup_of_another_tensor_than_the_head_is_refused(tied: Context) -> None:
    graph = Graph(tied.export_folder / "fused" / fused.GRAPH)
    transpose = next(node for node in graph.model.graph.node if node.op_type == "Transpose")
    transpose.input[0] = "model.layers.0.attn.o_proj.MatMul.weight"
    with pytest.raises(QuantizationError, match=r"embedding reads Transpose .*, not the head"):
        embedding.quantize(graph)
