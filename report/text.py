"""Figures as a person reads them. A figure that is not there is a dash, never a zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from core.records import Interval
from drift.records import Metric

DASH = "–"


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign, and a true minus: +0.10, −0.10, 0.00."""
    if value is None:
        return DASH
    rounded = f"{value:+.{digits}f}"
    return rounded.lstrip("+-") if float(rounded) == 0 else rounded.replace("-", "−")


def bounds(found: Interval | None, digits: int = 2) -> str:
    """The two ends of an interval, with signs: [−0.92, +0.72]."""
    return DASH if found is None else f"[{signed(found.low, digits)}, {signed(found.high, digits)}]"


def estimate(found: Interval | None, biased: bool) -> str:
    """What stands beside the lower bound: the estimate with its interval, and whether stopping has biased it."""
    if found is None:
        return ""
    return f"estimate {signed(found.value)} {bounds(found)}" + (", biased by stopping early" if biased else "")


def decoding(samples: int) -> str:
    """How answers were made."""
    return "greedy" if samples == 1 else f"sampled, {samples} answers to an item, whose mean counts"


def target(name: Literal["population", "benchmark"]) -> str:
    """What the verdict is about."""
    if name == "benchmark":
        return "The verdict is about this benchmark itself, which is finite: its items are read without replacement."
    return "The verdict is about items like these."


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return DASH if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 0) -> str:
    """With thousands apart: 3,570."""
    return DASH if value is None else f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """A ratio: 2.2×."""
    return DASH if value is None else f"{value:.2f}×"


def small(value: float | None) -> str:
    """A figure whose size is not known beforehand: 1.2e-03, 0.034."""
    if value is None:
        return DASH
    return "0" if value == 0 else f"{value:.1e}" if abs(value) < 0.01 else f"{value:.3g}"


def size(count: int) -> str:
    """Bytes as B, KiB or MiB."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


FIGURES: dict[str, Callable[[float], str]] = {
    "share": lambda value: percent(value, 2),
    "ratio": lambda value: f"{value:.4f}",
    "probability": lambda value: f"{value:.2g}",
    "nats": small,
    "tokens": lambda value: number(value, 1),
    "items": number,
    "points": signed,
    "ms": lambda value: number(value, 2),
}
UNSAID = {"share", "ratio", "probability", "items"}  # units that the figure or its label already says


def figure(value: float | None, unit: str) -> str:
    """A figure by its unit, without saying it."""
    if value is None:
        return DASH
    return FIGURES[unit](value) if unit in FIGURES else f"{value:,.4g}"


def metric(found: Metric) -> tuple[str, str]:
    """A metric's figure, behind the original's own where it has one, and its interval."""
    value = figure(found.value, found.unit)
    if found.reference is not None:
        value = f"{figure(found.reference, found.unit).removesuffix(' %')} → {value}"
    if found.low is None or found.high is None:
        return value, ""
    return value, f"[{figure(found.low, found.unit)}, {figure(found.high, found.unit)}]"


def divergence(reference: str, variant: str) -> int:
    """Index of the first character in which two texts differ (the shorter one's length if none does)."""
    pairs = enumerate(zip(reference, variant, strict=False))
    return next((index for index, (ours, theirs) in pairs if ours != theirs), min(len(reference), len(variant)))
