"""The KL budget decides what gets static scales: an input that cannot bear one stays wide, and the budget is met."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from calibration import statistics
from core.errors import DataError, QuantizationError
from export import fused
from export.graph import Graph
from quantizers import Context, static_int8
from quantizers.parts import budget, integer, switches
from quantizers.static_int8 import Options

HEAD_DIM = 16
ALL = 8  # inputs of the workshop's two layers


def _quantize(context: Context, folder: Path, **options: float) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return static_int8.quantize(context, Options.model_validate(options), folder)


def _kl(context: Context, folder: Path) -> float:
    """On every text that calibration kept, not only those that the quantizer looked at."""
    texts = statistics.own_texts(context.calibration_folder)
    graphs = context.export_folder / "fused" / fused.GRAPH, folder / fused.GRAPH
    both = [
        [session.log_probabilities(text) for text in texts]
        for session in (switches.Session(graph, HEAD_DIM, 2) for graph in graphs)
    ]
    return switches.divergence(*both)


def test_a_tighter_budget_keeps_more_inputs_wide_and_both_are_met(workshop: Context, tmp_path: Path) -> None:
    loose = _quantize(workshop, tmp_path / "loose", kl_budget=10)
    assert loose["kept_wide"] == []
    assert loose["integer_matmuls"] == loose["operators"]["MatMulIntegerToFloat"]
    assert loose["operators"]["MatMulNBits"] == 1  # the head
    whole = loose["kl_mean_nats"]
    tight = _quantize(workshop, tmp_path / "tight", kl_budget=0.9 * whole)
    assert 0 < len(tight["kept_wide"]) < ALL
    assert tight["kl_mean_nats"] <= 0.9 * whole
    assert _kl(workshop, tmp_path / "tight") < _kl(workshop, tmp_path / "loose")
    assert tight["operators"]["MatMulNBits"] == 1 + 10 - tight["integer_matmuls"]  # qkv, o, gate, up, down; twice


def test_a_planted_input_that_no_static_scale_fits_stays_wide(workshop: Context, tmp_path: Path) -> None:
    """Its statistics say a thousandth of what the model sees, so that a static scale cuts everything off."""
    planted = replace(workshop, calibration_folder=tmp_path / "calibration")
    shutil.copytree(workshop.calibration_folder, planted.calibration_folder)
    path = planted.calibration_folder / statistics.FILE
    tensors = load_file(path)
    for name, values in tensors.items():
        if "/1.down/" in name and name.endswith(("low", "high", "sample")):
            tensors[name] = values / 1000
    save_file(tensors, path)
    facts = _quantize(planted, tmp_path / "planted", kl_budget=0.05)
    assert "1.down" in facts["kept_wide"]
    assert facts["kl_mean_nats"] <= 0.05
    assert _kl(workshop, tmp_path / "planted") < 0.1
    bold = _quantize(planted, tmp_path / "bold", kl_budget=1000)
    assert bold["kept_wide"] == []
    assert bold["kl_mean_nats"] > 5 * 0.05


def test_a_budget_below_that_of_the_weights_alone_is_refused(workshop: Context, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="no matmul input can have static scales within kl_budget 1e-09"):
        _quantize(workshop, tmp_path / "never", kl_budget=1e-9)


def test_a_graph_that_is_not_the_one_that_was_searched_is_refused(
    workshop: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: settling leaves the last input out and takes a wrong scale with it."""
    settle = switches.settle

    def wrong(graph: Graph, on: list[str]) -> None:
        settle(graph, on)
        name = next(name for name in graph.initializers if name.endswith("1.mlp.down_proj.MatMul.weight/scales"))
        graph.set_weight(name, 30 * graph.weight(name))

    monkeypatch.setattr(switches, "settle", wrong)
    whole = _quantize_right(workshop, tmp_path / "right", monkeypatch, settle)["kl_mean_nats"]
    monkeypatch.setattr(switches, "settle", wrong)
    with pytest.raises(QuantizationError, match=r"the graph as written has a KL of .*: do not serve it"):
        _quantize(workshop, tmp_path / "wrong", kl_budget=2 * whole)


def _quantize_right(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch, settle: object
) -> dict[str, Any]:
    monkeypatch.setattr(switches, "settle", settle)
    return _quantize(context, folder, kl_budget=10)


def test_matmul_that_stays_float_is_named(workshop: Context, tmp_path: Path) -> None:
    graph = Graph(workshop.export_folder / "fused" / fused.GRAPH)
    first = graph.matmuls()[0].node
    graph.save(tmp_path)
    with pytest.raises(QuantizationError, match=f"1 matmuls were meant to run in integers and do not: {first}"):
        integer.check(tmp_path / fused.GRAPH, [first], 2)


def test_calibration_without_replies_is_refused(workshop: Context, tmp_path: Path) -> None:
    tensors = load_file(workshop.calibration_folder / statistics.FILE)
    save_file({name: t for name, t in tensors.items() if not name.startswith("texts")}, tmp_path / statistics.FILE)
    reference = switches.Session(workshop.export_folder / "fused" / fused.GRAPH, HEAD_DIM, 2)
    with pytest.raises(DataError, match=r"0 calibration prompts .* raise calibrate\.decode_items"):
        budget.read(tmp_path, reference, 1)


def test_a_larger_model_is_measured_on_fewer_texts(workshop: Context) -> None:
    reference = switches.Session(workshop.export_folder / "fused" / fused.GRAPH, HEAD_DIM, 2)
    small, large = (budget.read(workshop.calibration_folder, reference, int(size)) for size in (1e8, 7e9))
    assert len(large[0]) <= len(small[0])
    texts = {text.prompt for text in small[0].texts}
    assert texts.isdisjoint(text.prompt for text in small[1].texts)
