"""Clipping ranges of activations, and what quantization makes of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from calibration.statistics import Array, Site

Method: TypeAlias = Literal["absmax", "percentile", "mse"]

LEVELS = 255  # uint8 with a zero point
SHRINK = np.linspace(0.2, 1.0, 33)  # shares of the full range that the MSE search tries
SEARCHED = 200_000  # sampled values that the search looks at


@dataclass(frozen=True)
class Clip:
    """The range that 256 levels cover. It contains 0, so that 0 is exact."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        return max(self.high - self.low, 1e-12) / LEVELS

    def apply(self, values: Array) -> Array:
        """`values` as they come out of QuantizeLinear and DequantizeLinear."""
        zero = round(-self.low / self.scale)
        levels = np.clip(np.round(values / self.scale) + zero, 0, LEVELS)
        result: Array = ((levels - zero) * self.scale).astype(np.float32)
        return result


def clip(site: Site, method: Method, percentile: float) -> Clip:
    """The range of one matmul input: everything seen, a percentile of the sample, or the least squared error."""
    low, high = min(float(site.low.min()), 0.0), max(float(site.high.max()), 0.0)
    if method == "absmax":
        return Clip(low, high)
    if method == "percentile":
        tail = (100 - percentile) / 2
        bottom, top = np.percentile(site.sample, [tail, 100 - tail])
        return Clip(max(low, min(float(bottom), 0.0)), min(high, max(float(top), 0.0)))
    values = site.sample.ravel()
    values = values[:: max(1, len(values) // SEARCHED)]
    best = Clip(low, high)
    for _ in range(2):  # one end, then the other, twice: outliers are often on one side only
        best = _least_error(values, [Clip(best.low, high * share) for share in SHRINK])
        best = _least_error(values, [Clip(low * share, best.high) for share in SHRINK])
    return best


def _least_error(sample: Array, candidates: list[Clip]) -> Clip:
    return min(candidates, key=lambda candidate: float(np.square(candidate.apply(sample) - sample).mean()))


def weight(values: Array, per_channel: bool) -> Array:
    """`values` (in, out) as int8 symmetric weights come out: one scale for each column, or one for all."""
    largest = np.abs(values).max(0, keepdims=True) if per_channel else np.abs(values).max()
    scale = np.maximum(largest, 1e-12) / 127
    result: Array = (np.clip(np.round(values / scale), -127, 127) * scale).astype(np.float32)
    return result
