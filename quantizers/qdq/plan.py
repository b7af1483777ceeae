"""What both schemes decide before a scale is written: smoothing, clipping ranges, which matmuls stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from calibration import statistics
from calibration.statistics import Site
from export.graph import Graph
from quantizers.qdq import sensitivity
from quantizers.qdq.ranges import Method
from quantizers.qdq.sensitivity import Rounding

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
    errors = sensitivity.output_errors(graph, sites, clips, per_channel)
    free = {matmul: error for matmul, error in errors.items() if matmul not in always_kept}
    return Plan(sites, clips, errors, set(always_kept) | sensitivity.most_sensitive(free, keep_share))
