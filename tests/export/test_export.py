"""The exported graphs compute what torch computes, and a graph that does not is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core import files
from core.errors import ExportError
from export import check, fused
from export.graph import Graph
from quantizers import Context


@pytest.mark.parametrize("kind", ["fused", "standard"])
def test_graph_matches_torch_on_prefill_and_decode(workshop: Context, kind: str) -> None:
    found = check.compare(workshop.model_folder, workshop.export_folder / kind / fused.GRAPH, 2, seed=1)
    assert found["dtype"] == "float32"
    assert float(found["prefill"]) < 1e-4
    assert float(found["decode"]) < 1e-4


def test_standard_graph_has_no_contrib_operator(workshop: Context) -> None:
    graph = Graph(workshop.export_folder / "standard" / fused.GRAPH)
    assert {node.domain for node in graph.model.graph.node} <= {"", "ai.onnx"}


def test_the_standard_graph_says_nothing_of_the_machine_it_was_made_on(workshop: Context) -> None:
    content = (workshop.export_folder / "standard" / fused.GRAPH).read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"stack_trace" not in content


def test_fused_graph_uses_grouped_query_attention(workshop: Context) -> None:
    graph = Graph(workshop.export_folder / "fused" / fused.GRAPH)
    kinds = [node.op_type for node in graph.model.graph.node]
    assert kinds.count("GroupQueryAttention") == 2


def test_changed_weight_is_refused(workshop: Context, tmp_path: Path) -> None:
    graph = Graph(workshop.export_folder / "fused" / fused.GRAPH)
    name = graph.matmuls()[0].weight
    graph.set_weight(name, graph.weight(name) * 1.5)
    graph.save(tmp_path)
    with pytest.raises(ExportError, match=r"differs from torch by .* the tolerance for float32 is 1e-04"):
        check.compare(workshop.model_folder, tmp_path / fused.GRAPH, 2, seed=1)


def test_nan_in_a_graph_is_refused(workshop: Context, tmp_path: Path) -> None:
    graph = Graph(workshop.export_folder / "fused" / fused.GRAPH)
    name = graph.matmuls()[0].weight
    graph.set_weight(name, np.full_like(graph.weight(name), np.nan))
    graph.save(tmp_path)
    with pytest.raises(ExportError):
        check.compare(workshop.model_folder, tmp_path / fused.GRAPH, 2, seed=1)


def test_builder_failure_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="builder failed"):
        fused.export(tmp_path, tmp_path / "out", 2)


def test_same_model_gives_the_same_graph(tiny_qwen2: Path, tmp_path: Path) -> None:
    """The manifest's digest names a version, so making it again must give the same bytes."""
    for name in ("first", "second"):
        fused.export(tiny_qwen2, tmp_path / name, 2)
    first, second = (
        {file.name: files.sha256_file(file) for file in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second
