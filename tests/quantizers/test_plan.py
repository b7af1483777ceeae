"""What static scales are made of: folds are exact, ranges cover, alphas and corrections do what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import statistics
from calibration.statistics import Site
from export import check, fused
from export.graph import Graph, MatMul
from quantizers import Context, static_int8
from quantizers.parts import plan, smooth
from quantizers.parts.plan import Sampled
from quantizers.static_int8 import Options


def _graph(context: Context) -> Graph:
    return Graph(context.export_folder / "fused" / fused.GRAPH)


def _site(rows: np.ndarray) -> Site:
    rows = rows.astype(np.float32)
    return Site(rows.min(0), rows.max(0), rows.mean(0), rows, len(rows))


def _even(site: Site) -> Sampled:
    return Sampled(site.sample.ravel(), np.ones(site.sample.size, np.float32))


def _fold_all(graph: Graph, sites: dict[str, Site], alpha: float) -> dict[str, Site]:
    readers: dict[str, list[MatMul]] = {}
    for matmul in graph.matmuls():
        readers.setdefault(matmul.site, []).append(matmul)
    return {name: smooth.fold(graph, sites[name], found, alpha) for name, found in readers.items() if name != "head"}


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_smoothing_leaves_what_a_graph_computes(
    workshop: Context, original: check.Original, tmp_path: Path, alpha: float
) -> None:
    graph = _graph(workshop)
    before = {matmul.weight: graph.weight(matmul.weight) for matmul in graph.matmuls()}
    _fold_all(graph, statistics.load(workshop.calibration_folder), alpha)
    assert any(not np.array_equal(graph.weight(name), weight) for name, weight in before.items())
    graph.save(tmp_path)
    original.compare(tmp_path / fused.GRAPH)


def test_smoothing_evens_out_activations(workshop: Context) -> None:
    """The ratio of the largest to the median channel falls where the weights allow it."""
    sites = statistics.load(workshop.calibration_folder)
    smoothed = _fold_all(_graph(workshop), sites, 0.8)
    spread = {name: np.max(site.absmax) / np.median(site.absmax) for name, site in sites.items()}
    after = {name: np.max(site.absmax) / np.median(site.absmax) for name, site in smoothed.items()}
    assert np.mean([after[name] < spread[name] for name in after]) > 0.7


def test_the_strength_is_chosen_that_an_outlier_channel_needs(workshop: Context, tmp_path: Path) -> None:
    """A norm that makes one channel a hundred times the rest: without smoothing the others are rounded away."""
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    scale = np.ones(len(sites["0.mlp"].mean), np.float32)
    scale[5] = 100
    planted = smooth.divided(sites["0.mlp"], (1 / scale).astype(np.float32))
    for matmul in graph.matmuls():
        if matmul.site == "0.mlp":
            graph.set_weight(matmul.weight, graph.weight(matmul.weight) / scale[:, None])
    readers = [matmul for matmul in graph.matmuls() if matmul.site == "0.mlp"]
    options = Options(activations="absmax")
    tried = plan.candidates(graph, planted, readers, [0.0, 0.8], options, static_int8.clip)
    none, strong = (sum(choice.errors.values()) for choice in tried)
    assert strong < none / 20


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
    wide, narrow = (static_int8.clip(site, _even(site), Options(activations=how)) for how in ("absmax", "mse"))
    assert wide.high == pytest.approx(30)
    assert narrow.high < 25
    assert _even(site).error(narrow) < _even(site).error(wide)


def test_percentile_range_is_the_percentile() -> None:
    site = _site(np.linspace(-1, 1, 10_001)[:, None])
    clip = static_int8.clip(site, _even(site), Options(activations="percentile", percentile=98))
    assert clip.low == pytest.approx(-0.98)
    assert clip.high == pytest.approx(0.98)


def test_a_row_a_thousand_times_the_rest_does_not_decide_alone(workshop: Context) -> None:
    """The first tokens of Llama-like models: in a plain mean of squares they would be all that counts."""
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    rows = sites["0.down"].sample.copy()
    rows[0] *= 1000
    readers = [matmul for matmul in graph.matmuls() if matmul.site == "0.down"]
    (choice,) = plan.candidates(graph, _site(rows), readers, [0.0], Options(), static_int8.clip)
    assert choice.clip.high < 0.5 * rows.max()


def test_corrections_are_the_mean_error_of_the_output(workshop: Context) -> None:
    graph, sites = _graph(workshop), statistics.load(workshop.calibration_folder)
    for matmul in graph.matmuls()[:6]:
        site = sites[matmul.site]
        (choice,) = plan.candidates(graph, site, [matmul], [0.0], Options(), static_int8.clip)
        rows, weight = plan.sampled_rows(site), graph.weight(matmul.weight)
        error = rows @ weight - choice.clip.apply(rows) @ plan.rounded_weight(weight)
        share = 1 / plan.row_sizes(rows @ weight)
        left = share @ (error - choice.corrections[matmul.node]) / share.sum()
        assert np.abs(left).max() < 1e-2 * np.abs(share @ error / share.sum()).max() + 1e-6
