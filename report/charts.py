"""The report's figures. Each takes records and returns one inline SVG, or None when there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from benchmarks.records import Percentiles, Workload
from evaluation.records import Evaluation
from report.material import Material
from report.svg import BASELINE, FAIL, GRID, INK, MARKERS, MUTED, PAPER, PASS, SERIES, UNSURE, Canvas, canvas

VERDICT_COLOURS = {"pass": PASS, "fail": FAIL, "inconclusive": UNSURE}


def tradeoff(material: Material, name: str, width: int, height: int) -> Markup | None:
    """Accuracy difference (points, with its interval) against output tok/s at the largest batch."""
    batch = max(material.batches, default=0)
    points = [
        (index, one, load.output_tok_s, found.delta_points, found.margin_points)
        for index, one in enumerate(material.variants)
        if (load := one.workload(batch)) and (found := one.evaluation) and found.delta_points
    ]
    if not points:
        return None
    text = "; ".join(f"{one.name} {speed.median:.0f} tok/s, {delta.value:+.2f}" for _, one, speed, delta, _ in points)
    with canvas(name, f"Accuracy in points against speed at batch {batch}", text, width, height) as drawing:
        axes = drawing.axes
        axes.axhline(0, color=MUTED, linewidth=1)
        labels = []
        for index, one, speed, delta, margin in points:
            (colour, marker), chosen = _style(index), one is material.chosen
            axes.plot([speed.median] * 2, [delta.low, delta.high], color=colour, linewidth=2)
            axes.plot([speed.low, speed.high], [delta.value] * 2, color=colour, linewidth=2)
            axes.plot(speed.median, -margin, marker="_", markersize=22, color=FAIL, markeredgewidth=2)
            axes.plot(
                speed.median,
                delta.value,
                marker=marker,
                markersize=11 if chosen else 8,
                color=colour if chosen else PAPER,
                markeredgecolor=colour,
                markeredgewidth=2,
            )
            labels.append((one.name + (" (chosen)" if chosen else ""), speed.median, delta.high, chosen))
        axes.set_xlabel(f"output tokens per second at batch {batch}")
        axes.set_ylabel("accuracy against the original, points")
        axes.margins(x=0.14, y=0.18)
        _labels(drawing, labels)
    return drawing.markup


def _style(index: int) -> tuple[str, str]:
    """Colour and marker of the variant at `index` of params: where colours come again, the marker is another one."""
    rounds, place = divmod(index, len(SERIES))
    return SERIES[place], MARKERS[(place + rounds) % len(MARKERS)]


def _labels(drawing: Canvas, labels: Sequence[tuple[str, float, float, bool]]) -> None:
    """Write each (text, x, y, bold) above its point, higher where it would cover another label."""
    drawing.figure.draw_without_rendering()  # settles the layout, and so where a point lies in pixels
    boxes: list[Any] = []
    for text, x, y, bold in sorted(labels, key=lambda label: label[1]):
        style = {"ha": "center", "fontweight": "bold" if bold else "normal", "textcoords": "offset points"}
        for height in range(7, 67, 4):
            label = drawing.axes.annotate(text, (x, y), xytext=(0, height), **style)
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in boxes):
                break
            label.set_visible(False)
        label.set_visible(True)
        boxes.append(box)


def forest(material: Material) -> Markup | None:
    """Every variant's accuracy difference with its interval, against its own margin."""
    rows = [(one.name, one.evaluation) for one in material.variants if one.evaluation and one.evaluation.delta_points]
    if not rows:
        return None
    text = "; ".join(f"{name}: {found.verdict}, margin {found.margin_points:g} points" for name, found in rows)
    height = 66 + 34 * len(rows)
    with canvas("forest", "Accuracy difference with its interval and margin", text, 380, height) as drawing:
        axes = drawing.axes
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, (_, found) in enumerate(rows):
            delta, colour = found.delta_points, VERDICT_COLOURS[found.verdict]
            assert delta is not None  # chosen above
            axes.plot([delta.low, delta.high], [row, row], color=colour, linewidth=5, alpha=0.45)
            axes.plot(delta.value, row, marker="o", color=colour, markersize=8)
            axes.plot([-found.margin_points] * 2, [row - 0.34, row + 0.34], color=FAIL, linewidth=2)
        _rows(axes, [name for name, _ in rows])
        axes.set_xlabel("points of accuracy; the upright bar is the margin")
    return drawing.markup


def looks(name: str, found: Evaluation) -> Markup | None:
    """The sequential test of one variant: estimate and anytime-valid interval at every look, until it stopped."""
    if not found.looks:
        return None
    items = [look.items for look in found.looks]
    low, high = [look.low_points for look in found.looks], [look.high_points for look in found.looks]
    middle = [look.delta_points for look in found.looks]
    colour = VERDICT_COLOURS[found.verdict]
    text = f"{len(items)} looks, stopped after {found.items} of {found.items_budget} items: {found.verdict}"
    with canvas(f"looks-{name}", f"Sequential test of {name}", text, 300, 190) as drawing:
        axes = drawing.axes
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.axhline(-found.margin_points, color=FAIL, linewidth=1.5, linestyle=(0, (4, 3)))
        if len(items) > 1:
            axes.fill_between(items, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(items, middle, color=colour, linewidth=1.6)
        axes.plot([items[-1]] * 2, [low[-1], high[-1]], color=colour, linewidth=3)
        axes.plot(items[-1], middle[-1], marker="o", color=colour, markersize=7)
        # The first looks are far wider than the verdict: let them run off the figure, so that the end can be read.
        reach = 3 * max(found.margin_points, high[-1] - middle[-1], middle[-1] - low[-1])
        bottom = min(-1.3 * found.margin_points, low[-1] - 0.1 * reach, max(min(low), -reach))
        axes.set_ylim(bottom, max(high[-1] + 0.1 * reach, min(max(high), reach)))
        axes.set_xlim(0, max(items) * 1.08)
        axes.set_xlabel("items")
        axes.locator_params(axis="x", nbins=5)
    return drawing.markup


def throughput(material: Material, name: str, width: int, height: int) -> Markup | None:
    """Output tok/s over batch size for every variant and the baseline."""
    measured = [one for one in material.variants if one.benchmark and one.benchmark.workloads]
    if not measured:
        return None
    text = f"{', '.join(one.name for one in measured)} at batch {', '.join(map(str, material.batches))}"
    with canvas(name, "Output tokens per second over batch size", text, width, height) as drawing:
        axes = drawing.axes
        for index, one in enumerate(material.variants):
            if one.benchmark and one.benchmark.workloads:
                loads, (colour, marker) = one.benchmark.workloads, _style(index)
                axes.plot(
                    [load.batch for load in loads],
                    [load.output_tok_s.median for load in loads],
                    color=colour,
                    marker=marker,
                    markersize=6,
                    linewidth=3 if one is material.chosen else 1.6,
                    label=one.name,
                )
        base = measured[0].benchmark.workloads if measured[0].benchmark else []
        axes.plot(
            [load.batch for load in base],
            [load.baseline_output_tok_s.median for load in base],
            color=BASELINE,
            linestyle=(0, (4, 3)),
            marker="x",
            label="Hugging Face generate",
        )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(material.batches, [str(batch) for batch in material.batches])
        _log_ticks(axes.yaxis, *axes.get_ylim())
        axes.minorticks_off()
        axes.set_xlabel("batch")
        axes.set_ylabel("output tok/s")
        drawing.figure.legend(loc="outside upper left", ncols=width // 100, handlelength=1.6, columnspacing=1.2)
    return drawing.markup


def latency(material: Material, kind: str, limit_ms: float) -> Markup | None:
    """Inter-token latency (`kind` "itl") or time to first token ("ttft") at batch 1: p50, p95, p99, spread."""
    rows: list[tuple[str, str, Percentiles, Sequence[float]]] = []
    base: Workload | None = None
    for index, one in enumerate(material.variants):
        if load := one.workload(1):
            base = base or load
            found, spread = (load.itl_ms, load.itl_quantiles_ms) if kind == "itl" else (load.ttft_ms, [])
            rows.append((one.name, _style(index)[0], found, spread))
    if base is None:
        return None
    theirs = base.baseline_itl_ms if kind == "itl" else base.baseline_ttft_ms
    if theirs:
        rows.append(("Hugging Face", BASELINE, theirs, base.baseline_itl_quantiles_ms if kind == "itl" else []))
    title = "Inter-token latency at batch 1" if kind == "itl" else "Time to first token at batch 1"
    text = "; ".join(
        f"{name}: p50 {one.p50:.2f}, p95 {one.p95:.2f}, p99 {one.p99:.2f} ms" for name, _, one, _ in rows
    )
    with canvas(f"latency-{kind}", title, text, 380, 66 + 34 * len(rows)) as drawing:
        axes = drawing.axes
        for row, (_, colour, found, quantiles) in enumerate(rows):
            if quantiles:
                axes.plot([quantiles[0], quantiles[-1]], [row, row], color=colour, linewidth=1.2)
                axes.plot([quantiles[1], quantiles[-2]], [row, row], color=colour, linewidth=7, alpha=0.4)
            else:
                axes.plot([found.p50, found.p99], [row, row], color=colour, linewidth=1.2)
            axes.plot(found.p50, row, marker="o", color=colour, markersize=8)
            axes.plot([found.p95, found.p99], [row, row], linestyle="", marker="|", color=colour, markersize=13)
        axes.set_xscale("log")
        lowest, highest = axes.get_xlim()
        if limit_ms < highest * 4:
            axes.axvline(limit_ms, color=FAIL, linewidth=1.5, linestyle=(0, (4, 3)))
        _rows(axes, [name for name, *_ in rows])
        _log_ticks(axes.xaxis, lowest, max(highest, limit_ms) if limit_ms < highest * 4 else highest)
        axes.minorticks_off()
        axes.set_xlabel("ms; dot p50, ticks p95 and p99")
    return drawing.markup


def _rows(axes: Any, names: Sequence[str]) -> None:
    """Names down the left side, the first on top, without a vertical axis."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _log_ticks(axis: Any, low: float, high: float) -> None:
    """Plain numbers at 1, 2 and 5 of each decade instead of powers of ten."""
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(shown, labels=[f"{tick:,g}" for tick in shown])
