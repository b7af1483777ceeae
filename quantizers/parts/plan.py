"""What a scheme with static scales decides for each matmul input before one is written: smoothing and range.

Both are searched on the sampled rows for the least error of the output, each row against its own size. A model's
first tokens have activations a thousand times the rest: in a plain mean of squares nothing else would count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from calibration import statistics
from calibration.statistics import Array, Site
from core import progress
from export.graph import Graph, MatMul
from quantizers.parts import smooth

Method: TypeAlias = Literal["absmax", "percentile", "mse"]

SHRINK = [percent / 100 for percent in range(20, 101, 5)]  # shares of the full range that a search for the best tries
ROWS = 256  # sampled rows that the error of an output is taken over
SEARCHED = 32_000  # sampled values that the search for a range looks at
LEVELS = 127


class Rounding(Protocol):
    """The range of one matmul input in the levels of a scheme."""

    def apply(self, values: Array) -> Array:
        """`values` as they come out of QuantizeLinear and DequantizeLinear."""
        ...


Range = TypeVar("Range", bound=Rounding)


class Options(BaseModel):
    """The options of a recipe that every scheme has."""

    model_config = ConfigDict(extra="forbid")

    activations: Method = "mse"
    percentile: float = Field(default=99.99, gt=50, le=100, description="of |x|, for activations: percentile")
    smooth_alphas: list[float] = Field(
        default=[0.0, 0.4, 0.6, 0.8, 0.95],
        min_length=1,
        description="SmoothQuant's strengths to choose from; 0: none",
    )


@dataclass(frozen=True)
class Sampled:
    """Values of one input, and how much a squared error of each weighs in the output; both flat."""

    values: Array
    weights: Array

    def error(self, rounding: Rounding) -> float:
        """Squared error of the output that `rounding` makes, as far as each value's own error tells."""
        return float((np.square(rounding.apply(self.values) - self.values) * self.weights).sum())


@dataclass(frozen=True)
class Choice(Generic[Range]):
    """What was decided for one input.

    By matmul that reads it: `errors`, noise to signal of the output, and `corrections`, its mean error, float32
    (channels out,), to be added to it.
    """

    readers: list[MatMul]
    alpha: float
    clip: Range
    errors: dict[str, float]
    corrections: dict[str, Array]


Clipper: TypeAlias = Callable[[Site, Sampled, Options], Range]
Fold: TypeAlias = Callable[[Graph, Site, list[MatMul], float], object]


def make(
    graph: Graph,
    calibration_folder: Path,
    options: Options,
    clip: Clipper[Range],
    fold: Fold,
    smoothable: tuple[str, ...] = ("attention", "o", "mlp", "down"),
) -> dict[str, Choice[Range]]:
    """Choose for every input that a MatMul reads, by site, and smooth `graph` in place with `fold`.

    Sites whose name does not end in one of `smoothable` are left as they are.
    """
    sites = statistics.load(calibration_folder)
    readers: dict[str, list[MatMul]] = {}
    for matmul in graph.matmuls():
        readers.setdefault(matmul.site, []).append(matmul)
    made: dict[str, Choice[Range]] = {}
    for name, read_by in progress.track(readers.items(), "search scales", total=len(readers), unit="input"):
        alphas = options.smooth_alphas if name.endswith(smoothable) else [0.0]
        tried = candidates(graph, sites[name], read_by, alphas, options, clip)
        best = min(tried, key=lambda choice: sum(choice.errors.values()))
        if best.alpha:
            fold(graph, sites[name], read_by, best.alpha)
        made[name] = best
    return made


def candidates(
    graph: Graph, site: Site, readers: list[MatMul], alphas: list[float], options: Options, clip: Clipper[Range]
) -> list[Choice[Range]]:
    """What each of `alphas` would give for one input. Nothing is changed."""
    weights = [graph.weight(matmul.weight) for matmul in readers]
    rows = sampled_rows(site)
    exact = [rows @ weight for weight in weights]
    sizes = row_sizes(np.concatenate(exact, 1))
    made = []
    for alpha in alphas:
        channels = smooth.factors(graph, site, readers, alpha)
        smoothed, scaled = smooth.divided(site, channels), [weight * channels[:, None] for weight in weights]
        reach = np.sum([np.square(weight).sum(1) for weight in scaled], axis=0)
        inputs = sampled_rows(smoothed)
        chosen = clip(smoothed, _sampled(inputs, reach, sizes), options)
        rounded = chosen.apply(inputs)
        errors: dict[str, float] = {}
        corrections: dict[str, Array] = {}
        for matmul, wanted, weight in zip(readers, exact, scaled, strict=True):
            off, share = wanted - rounded @ rounded_weight(weight), 1 / row_sizes(wanted)
            errors[matmul.node] = float((np.square(off).sum(1) * share).mean())
            corrections[matmul.node] = (share @ off / share.sum()).astype(np.float32)
        made.append(Choice(readers, alpha, chosen, errors, corrections))
    return made


def _sampled(rows: Array, reach: Array, sizes: Array) -> Sampled:
    step = max(1, rows.size // SEARCHED)
    part = rows[::step]
    return Sampled(part.ravel(), (reach[None] / sizes[::step, None]).astype(np.float32).ravel())


def sampled_rows(site: Site) -> Array:
    """`ROWS` of the sampled rows, from prefill and decode alike: float32 (rows, channels)."""
    rows: Array = site.sample[:: max(1, len(site.sample) // ROWS)]
    return rows


def row_sizes(outputs: Array) -> Array:
    """Sum of squares of each row: float32 (rows,), never 0."""
    sizes: Array = np.maximum(np.square(outputs).sum(1), 1e-12)
    return sizes


def levels(values: Array) -> tuple[NDArray[np.int8], Array]:
    """A weight (in, out) as symmetric int8 of the same shape, and a float32 scale for each output channel (out,)."""
    scale = (np.maximum(np.abs(values).max(0), 1e-12) / LEVELS).astype(np.float32)
    return np.clip(np.round(values / scale), -LEVELS, LEVELS).astype(np.int8), scale


def rounded_weight(values: Array) -> Array:
    """A weight (in, out) as it comes out of `levels`."""
    whole, scale = levels(values)
    result: Array = whole * scale
    return result
