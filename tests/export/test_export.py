"""What the exported graphs hold; whether they compute what torch computes is in test_check.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import files
from core.errors import ExportError
from export import fused
from export.graph import Graph
from quantizers import Context


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
