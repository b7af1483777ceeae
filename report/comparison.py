"""The table of variants: one row a figure, one column a variant that was measured, for page and summary alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.records import Benchmark
from drift.records import Metric
from evaluation.records import Evaluation
from report import text
from report.material import Material, Variant
from report.text import DASH, number, percent, signed, times


@dataclass(frozen=True)
class TableRow:
    """`cells` are in the order of the variants, `notes` stand below them; `best` is the index of the best one."""

    label: str
    unit: str
    cells: list[str]
    best: int | None = None
    notes: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        """Each cell with its note, on one line."""
        notes = self.notes or [""] * len(self.cells)
        return [f"{cell} {note}".strip() for cell, note in zip(self.cells, notes, strict=True)]


@dataclass(frozen=True)
class Group:
    title: str
    rows: list[TableRow]


def groups(material: Material) -> list[Group]:
    """Drift, then speed at each batch, latency, size and memory."""
    reference = material.settings.select.compare_with
    return [
        *drift([one.evaluation for one in material.shown]),
        Group("Throughput", _throughput(material)),
        Group("Latency at batch 1", _latency(material.shown)),
        Group("Size and memory", _size(material.shown, reference)),
    ]


def drift(evaluations: Sequence[Evaluation | None]) -> list[Group]:
    """Accuracy with its verdict's margin, and every metric."""
    return [Group("Accuracy", _accuracy(evaluations)), *_metrics(evaluations)]


def tasks(material: Material) -> list[TableRow]:
    """One row a task: the difference in points, below it both accuracies and the number of items."""
    found = [one.evaluation.by_task if one.evaluation else [] for one in material.shown]
    names = list(dict.fromkeys(task.task for by_task in found for task in by_task))
    rows = []
    for name in names:
        own = [next((task for task in by_task if task.task == name), None) for by_task in found]
        cells = [signed(100 * (task.variant - task.reference)) if task else DASH for task in own]
        notes = [
            f"{100 * task.reference:.1f} → {percent(task.variant)}, {number(task.items)}" if task else ""
            for task in own
        ]
        rows.append(TableRow(name, "points", cells, notes=notes))
    return rows


def _accuracy(evaluations: Sequence[Evaluation | None]) -> list[TableRow]:
    def cells(show: Callable[[Evaluation], str]) -> list[str]:
        return [show(one) if one else DASH for one in evaluations]

    lows = cells(lambda e: signed(e.delta_points.low if e.delta_points else None))
    estimates = cells(lambda e: text.estimate(e.delta_points, e.is_biased))
    budgets = cells(lambda e: f"of {e.items_budget:,}")
    return [
        TableRow("against the original, at worst", "points", lows, notes=estimates),
        TableRow("margin", "points", cells(lambda e: f"−{e.margin_points:g}")),
        TableRow(
            "exact match", "", cells(lambda e: percent(e.accuracy_variant.value if e.accuracy_variant else None))
        ),
        TableRow("items it took", "", cells(lambda e: number(e.items)), notes=budgets),
    ]


def _metrics(evaluations: Sequence[Evaluation | None]) -> list[Group]:
    """Every metric that any of them has, in groups, with what the figures of a group were counted over."""
    known = [[metric for metric in one.metrics if metric.value is not None] if one else [] for one in evaluations]
    found = [{metric.name: metric for metric in own} for own in known]
    titles: dict[str, dict[str, Metric]] = {}
    for metric in (metric for own in found for metric in own.values()):
        titles.setdefault(metric.group, {}).setdefault(metric.name, metric)
    groups = []
    for title, metrics in titles.items():
        rows = []
        for name, first in metrics.items():
            shown = [text.metric(own[name]) if name in own else (DASH, "") for own in found]
            unit = "" if first.unit in text.UNSAID else first.unit
            rows.append(TableRow(first.label, unit, [cell for cell, _ in shown], notes=[note for _, note in shown]))
        for counted in dict.fromkeys(metric.counted for metric in metrics.values()):
            counts = [
                sorted({own[name].count for name in metrics if name in own and own[name].counted == counted})
                for own in found
            ]
            rows.append(TableRow(counted, "", [" / ".join(map(number, one)) or DASH for one in counts]))
        groups.append(Group(title, rows))
    return groups


def _throughput(material: Material) -> list[TableRow]:
    rows = []
    for batch in material.batches:
        loads = [one.workload(batch) for one in material.shown]
        values = [load.output_tok_s.median if load else None for load in loads]
        rows.append(
            TableRow(f"batch {batch}", "tok/s", [number(value) for value in values], _best(values, largest=True))
        )
    ratios = [load.decode_ratio.median if load else None for load in (one.workload(1) for one in material.shown)]
    label = "decode over Hugging Face"
    return [*rows, TableRow(label, "", [times(value) for value in ratios], _best(ratios, largest=True))]


def _latency(variants: list[Variant]) -> list[TableRow]:
    loads = [one.workload(1) for one in variants]
    rows = []
    for label, pick in (("time to first token", "ttft_ms"), ("between tokens", "itl_ms")):
        for field in ("p50", "p95", "p95_high", "p99"):
            values = [getattr(getattr(load, pick), field) if load else None for load in loads]
            cells = [number(value, 2) for value in values]
            shown = "p95 at most" if field == "p95_high" else field
            rows.append(TableRow(f"{label}, {shown}", "ms", cells, _best(values, largest=False)))
    return rows


def _size(variants: list[Variant], reference: str | None) -> list[TableRow]:
    found = [one.benchmark for one in variants]
    sizes = [one.artifact_mib if one else None for one in found]
    whole = next((size for one, size in zip(variants, sizes, strict=True) if one.name == reference), None)
    ratios = [percent(value / whole if value and whole else None, 0) for value in sizes]
    peaks = [one.peak_rss_mib if one else None for one in found]

    def load_ms(one: Benchmark | None) -> float | None:
        return one.load_ms.median if one and one.load_ms else None

    loads = [load_ms(one) for one in found]
    return [
        TableRow("artifact", "MiB", [number(value, 1) for value in sizes], _best(sizes, largest=False)),
        *([TableRow(f"of {reference}'s size", "", ratios)] if reference else []),
        TableRow("peak memory", "MiB", [number(value) for value in peaks], _best(peaks, largest=False)),
        TableRow("load", "ms", [number(value) for value in loads], _best(loads, largest=False)),
    ]


def _best(values: list[float | None], *, largest: bool) -> int | None:
    """Index of the best value when at least two are known and it stands alone."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    best = max(known) if largest else min(known)
    return values.index(best) if known.count(best) == 1 else None
