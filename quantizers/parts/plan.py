"""What a scheme with static scales decides before one is written: smoothing, ranges, which matmuls stay in float."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from calibration import statistics
from calibration.statistics import Array, Site
from export.graph import Graph

Method: TypeAlias = Literal["absmax", "percentile", "mse"]

SHRINK = np.linspace(0.2, 1.0, 33)  # shares of the full range that a search for the least squared error tries
SEARCHED = 200_000  # sampled values that the search looks at


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
    smooth_alpha: float = Field(default=0.5, ge=0, le=1, description="0 turns SmoothQuant off")


@dataclass(frozen=True)
class Plan(Generic[Range]):
    """`sites` and `clips` are by calibrated input, as they are after smoothing; `errors` are by matmul."""

    sites: dict[str, Site]
    clips: dict[str, Range]
    errors: dict[str, float]
    kept: set[str]  # matmuls that stay in float

    @property
    def wanted(self) -> list[str]:
        """Matmuls that are to run in integers, in graph order."""
        return [matmul for matmul in self.errors if matmul not in self.kept]

    @property
    def worst_error(self) -> float:
        """The largest output error of a matmul in integers: noise to signal."""
        return max((self.errors[matmul] for matmul in self.wanted), default=0.0)


def make(
    graph: Graph,
    calibration_folder: Path,
    options: Options,
    *,
    fold: Callable[[Graph, Mapping[str, Site], float], dict[str, Site]],
    clip: Callable[[Site, Method, float], Range],
    per_channel: bool,
    keep_share: float,
    always_kept: frozenset[str] = frozenset(),
) -> Plan[Range]:
    """Smooth `graph` in place with the scheme's `fold`, choose a range for every input with its `clip`.

    `keep_share` of the matmuls stay in float, the most sensitive first, beside those in `always_kept`.
    """
    sites = statistics.load(calibration_folder)
    if options.smooth_alpha > 0:
        sites = fold(graph, sites, options.smooth_alpha)
    clips = {name: clip(site, options.activations, options.percentile) for name, site in sites.items()}
    errors = output_errors(graph, sites, clips, per_channel)
    free = {matmul: error for matmul, error in errors.items() if matmul not in always_kept}
    return Plan(sites, clips, errors, set(always_kept) | most_sensitive(free, keep_share))


def output_errors(
    graph: Graph, sites: Mapping[str, Site], clips: Mapping[str, Rounding], per_channel: bool
) -> dict[str, float]:
    """Node name → ||xW - Q(x)Q(W)||^2 / ||xW||^2 over the sampled rows: noise to signal, 0 is perfect."""
    errors = {}
    for matmul in graph.matmuls():
        rows, weight = sites[matmul.site].sample, graph.weight(matmul.weight)
        exact = rows @ weight
        rounded = clips[matmul.site].apply(rows) @ rounded_weight(weight, per_channel)
        errors[matmul.node] = float(np.square(exact - rounded).sum() / max(np.square(exact).sum(), 1e-12))
    return errors


def most_sensitive(errors: Mapping[str, float], share: float) -> set[str]:
    """The `share` of matmuls with the largest error, rounded up to whole ones."""
    count = math.ceil(share * len(errors))
    return set(sorted(errors, key=lambda name: (-errors[name], name))[:count])


def rounded_weight(values: Array, per_channel: bool) -> Array:
    """`values` (in, out) as int8 symmetric weights come out: one scale for each column, or one for all."""
    largest = np.abs(values).max(0, keepdims=True) if per_channel else np.abs(values).max()
    scale = np.maximum(largest, 1e-12) / 127
    result: Array = (np.clip(np.round(values / scale), -127, 127) * scale).astype(np.float32)
    return result


def searched(site: Site) -> Array:
    """The sampled values that a search for a range looks at, as one flat array."""
    values = site.sample.ravel()
    return values[:: max(1, len(values) // SEARCHED)]
