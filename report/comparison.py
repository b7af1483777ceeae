"""The table of variants: one row a figure, one column a variant that was measured, for page and summary alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.records import Benchmark
from drift.records import TeacherForced
from evaluation.records import Evaluation
from report.material import Material, Variant
from report.text import DASH, bounds, number, percent, signed, small, times
from selection.gates import SIZE_REFERENCE


@dataclass(frozen=True)
class Row:
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
    rows: list[Row]


def groups(material: Material) -> list[Group]:
    """Accuracy, drift, speed at each batch, latency, size and memory."""
    return [
        Group("Accuracy", _accuracy(material.tabled)),
        Group("Drift, teacher-forced", _drift(material.tabled)),
        Group("Throughput", _throughput(material)),
        Group("Latency at batch 1", _latency(material.tabled)),
        Group("Size and memory", _size(material.tabled)),
    ]


def tasks(material: Material) -> list[Row]:
    """One row a task: the difference in points, below it both accuracies and the number of items."""
    found = [one.evaluation.by_task if one.evaluation else [] for one in material.tabled]
    names = list(dict.fromkeys(task.task for by_task in found for task in by_task))
    rows = []
    for name in names:
        own = [next((task for task in by_task if task.task == name), None) for by_task in found]
        cells = [signed(100 * (task.variant - task.reference)) if task else DASH for task in own]
        notes = [
            f"{100 * task.reference:.1f} → {percent(task.variant)}, {number(task.items)}" if task else ""
            for task in own
        ]
        rows.append(Row(name, "points", cells, notes=notes))
    return rows


def _accuracy(variants: list[Variant]) -> list[Row]:
    def cells(show: Callable[[Evaluation], str]) -> list[str]:
        return [show(one.evaluation) if one.evaluation else DASH for one in variants]

    deltas = cells(lambda e: signed(e.delta_points.value if e.delta_points else None))
    budgets = cells(lambda e: f"of {e.items_budget:,}")
    return [
        Row("against the original", "points", deltas, notes=cells(lambda e: bounds(e.delta_points))),
        Row("margin", "points", cells(lambda e: f"−{e.margin_points:g}")),
        Row("exact match", "", cells(lambda e: percent(e.accuracy_variant.value if e.accuracy_variant else None))),
        Row("answers lost / gained", "", cells(lambda e: f"{e.flips.lost} / {e.flips.gained}" if e.flips else DASH)),
        Row(
            "McNemar p, exact",
            "not adjusted for looks",
            cells(lambda e: f"{e.flips.mcnemar_p:.2g}" if e.flips else DASH),
        ),
        Row("items it took", "", cells(lambda e: number(e.items)), notes=budgets),
    ]


def _drift(variants: list[Variant]) -> list[Row]:
    def cells(show: Callable[[TeacherForced], str]) -> list[str]:
        found = [one.evaluation.teacher_forced if one.evaluation else None for one in variants]
        return [show(one) if one else DASH for one in found]

    return [
        Row(
            "KL divergence, mean",
            "nats",
            cells(lambda t: small(t.kl_mean.value)),
            notes=cells(lambda t: f"[{small(t.kl_mean.low)}, {small(t.kl_mean.high)}]"),
        ),
        Row("KL, 99th percentile", "nats", cells(lambda t: small(t.kl_p99))),
        Row("KL, largest", "nats", cells(lambda t: small(t.kl_max))),
        Row("same top token", "", cells(lambda t: percent(t.top1_agreement.value, 2))),
        Row(
            "perplexity ratio",
            "",
            cells(lambda t: f"{t.perplexity_ratio.value:.4f}"),
            notes=cells(lambda t: f"[{t.perplexity_ratio.low:.4f}, {t.perplexity_ratio.high:.4f}]"),
        ),
        Row("tokens", "", cells(lambda t: number(t.tokens))),
    ]


def _throughput(material: Material) -> list[Row]:
    rows = []
    for batch in material.batches:
        loads = [one.workload(batch) for one in material.tabled]
        values = [load.output_tok_s.median if load else None for load in loads]
        rows.append(Row(f"batch {batch}", "tok/s", [number(value) for value in values], _best(values, largest=True)))
    ratios = [load.decode_ratio.median if load else None for load in (one.workload(1) for one in material.tabled)]
    label = "decode over Hugging Face"
    return [*rows, Row(label, "", [times(value) for value in ratios], _best(ratios, largest=True))]


def _latency(variants: list[Variant]) -> list[Row]:
    loads = [one.workload(1) for one in variants]
    rows = []
    for label, pick in (("time to first token", "ttft_ms"), ("between tokens", "itl_ms")):
        for percentile in ("p50", "p95", "p99"):
            values = [getattr(getattr(load, pick), percentile) if load else None for load in loads]
            cells = [number(value, 2) for value in values]
            rows.append(Row(f"{label}, {percentile}", "ms", cells, _best(values, largest=False)))
    return rows


def _size(variants: list[Variant]) -> list[Row]:
    found = [one.benchmark for one in variants]
    sizes = [one.artifact_mib if one else None for one in found]
    reference = next((size for one, size in zip(variants, sizes, strict=True) if one.name == SIZE_REFERENCE), None)
    ratios = [value / reference if value and reference else None for value in sizes]
    peaks = [one.peak_rss_mib if one else None for one in found]

    def load_ms(one: Benchmark | None) -> float | None:
        return one.load_ms.median if one and one.load_ms else None

    loads = [load_ms(one) for one in found]
    return [
        Row("artifact", "MiB", [number(value, 1) for value in sizes], _best(sizes, largest=False)),
        Row(f"of {SIZE_REFERENCE}'s size", "", [percent(value, 0) for value in ratios]),
        Row("peak memory", "MiB", [number(value) for value in peaks], _best(peaks, largest=False)),
        Row("load", "ms", [number(value) for value in loads], _best(loads, largest=False)),
    ]


def _best(values: list[float | None], *, largest: bool) -> int | None:
    """Index of the best value when at least two are known and it stands alone."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    best = max(known) if largest else min(known)
    return values.index(best) if known.count(best) == 1 else None
