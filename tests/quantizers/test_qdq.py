"""Each step of static quantization does what it says: folds are exact, ranges cover, corrections correct."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import statistics
from calibration.statistics import Site
from core.errors import QuantizationError
from export import check, fused
from export.graph import Graph
from quantizers import Context, static_int8
from quantizers.parts import plan, smooth


def _graph(context: Context) -> Graph:
    return Graph(context.export_folder / "fused" / fused.GRAPH)


def _site(rows: np.ndarray) -> Site:
    rows = rows.astype(np.float32)
    return Site(rows.min(0), rows.max(0), rows.mean(0), rows, len(rows))


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_smoothing_changes_no_logit(
    workshop: Context, original: check.Original, tmp_path: Path, alpha: float
) -> None:
    graph = _graph(workshop)
    before = {matmul.weight: graph.weight(matmul.weight) for matmul in graph.matmuls()}
    smooth.fold(graph, statistics.load(workshop.calibration_folder), alpha)
    assert any(not np.array_equal(graph.weight(name), weight) for name, weight in before.items())
    graph.save(tmp_path)
    original.compare(tmp_path / fused.GRAPH)


def test_smoothing_evens_out_activations(workshop: Context) -> None:
    """The ratio of the largest to the median channel falls where the weights allow it."""
    sites = statistics.load(workshop.calibration_folder)
    smoothed = smooth.fold(_graph(workshop), sites, 0.8)
    spread = {name: np.max(site.absmax) / np.median(site.absmax) for name, site in sites.items()}
    after = {name: np.max(site.absmax) / np.median(site.absmax) for name, site in smoothed.items()}
    assert np.mean([after[name] < spread[name] for name in spread]) > 0.7


@given(st.floats(-100, 0), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_clip_keeps_zero_and_rounds_by_half_a_step(low: float, high: float) -> None:
    clip = static_int8.Clip(low, high)
    assert clip.apply(np.zeros(1, np.float32))[0] == 0
    values = np.linspace(low, high, 999, dtype=np.float32)
    assert np.abs(clip.apply(values) - values).max() <= clip.scale * 1.01


def test_mse_range_ignores_an_outlier_that_absmax_keeps() -> None:
    rows = np.random.default_rng(0).normal(size=(40_000, 10))
    rows[0, 0] = 30
    site = _site(rows)
    wide, narrow = static_int8.clip(site, "absmax", 0), static_int8.clip(site, "mse", 0)
    assert wide.high == pytest.approx(30)
    assert narrow.high < 25
    error = [np.square(clip.apply(site.sample) - site.sample).mean() for clip in (narrow, wide)]
    assert error[0] < error[1]


def test_percentile_range_is_the_percentile() -> None:
    site = _site(np.linspace(-1, 1, 10_001)[:, None])
    clip = static_int8.clip(site, "percentile", 98)
    assert clip.low == pytest.approx(-0.98)
    assert clip.high == pytest.approx(0.98)


def test_sensitivity_finds_the_matmul_with_the_outlier(workshop: Context) -> None:
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    victim = graph.matmuls()[3]
    weight = graph.weight(victim.weight)
    weight[0, 0] = 100 * np.abs(weight).max()
    graph.set_weight(victim.weight, weight)
    clips = {name: static_int8.clip(site, "absmax", 0) for name, site in sites.items()}
    errors = plan.output_errors(graph, sites, clips, per_channel=False)
    assert plan.most_sensitive(errors, 0.01) == {victim.node}
    assert plan.most_sensitive(errors, 0) == set()


def test_bias_correction_removes_the_mean_error(workshop: Context, tmp_path: Path) -> None:
    """With weights rounded to few levels the mean output moves; the corrected graph's mean logits are nearer."""
    sites = statistics.load(workshop.calibration_folder)
    clips = {name: static_int8.clip(site, "mse", 0) for name, site in sites.items()}
    graph = _graph(workshop)
    matmuls = graph.matmuls()
    exact = {matmul.node: sites[matmul.site].sample @ graph.weight(matmul.weight) for matmul in matmuls}
    static_int8.correct_bias(graph, sites, clips, per_channel=False, skip=set())
    for matmul in matmuls:
        rows, weight = sites[matmul.site].sample, graph.weight(matmul.weight)
        rounded = clips[matmul.site].apply(rows) @ plan.rounded_weight(weight, False)
        added = _correction(graph, matmul.node)
        if added is not None:
            error_before = np.abs((exact[matmul.node] - rounded).mean(0)).max()
            error_after = np.abs((exact[matmul.node] - rounded - added).mean(0)).max()
            assert error_after <= error_before * 1e-2 + 1e-6
    graph.save(tmp_path)
    static_int8.check_fused(tmp_path / fused.GRAPH, [], 2)


def _correction(graph: Graph, node: str) -> np.ndarray | None:
    name = f"{node}/correction"
    return graph.weight(name) if name in graph.initializers else None


def test_written_scales_are_ours(workshop: Context, tmp_path: Path) -> None:
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    clips = {name: static_int8.clip(site, "mse", 0) for name, site in sites.items()}
    wanted = [matmul.node for matmul in graph.matmuls()]
    inputs = {matmul.input: clips[matmul.site].scale for matmul in graph.matmuls()}
    static_int8.write_qdq(graph, clips, per_channel=False, skip=set())
    graph.save(tmp_path)
    saved = Graph(tmp_path / fused.GRAPH)
    for tensor, scale in inputs.items():
        assert float(saved.weight(f"{tensor}_scale")) == pytest.approx(scale, rel=1e-5)
    counts = static_int8.check_fused(tmp_path / fused.GRAPH, wanted, 2)
    assert counts["MatMulIntegerToFloat"] == len(wanted)
    assert "MatMul" not in counts


def test_matmul_that_stays_float_is_named(workshop: Context, tmp_path: Path) -> None:
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    clips = {name: static_int8.clip(site, "mse", 0) for name, site in sites.items()}
    wanted = [matmul.node for matmul in graph.matmuls()]
    static_int8.write_qdq(graph, clips, per_channel=False, skip={wanted[0]})
    graph.save(tmp_path)
    with pytest.raises(QuantizationError, match=f"1 matmuls were meant to run in integers and do not: {wanted[0]}"):
        static_int8.check_fused(tmp_path / fused.GRAPH, wanted, 2)
