"""How much each matmul's output suffers from being quantized, measured on the calibration sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from calibration.statistics import Array, Site
from export.graph import Graph
from quantizers.qdq import ranges


class Rounding(Protocol):
    """A clipping range of any scheme: `ranges.Clip`, `symmetric.Symmetric`."""

    def apply(self, values: Array) -> Array: ...


def output_errors(
    graph: Graph, sites: Mapping[str, Site], clips: Mapping[str, Rounding], per_channel: bool
) -> dict[str, float]:
    """Node name → ||xW - Q(x)Q(W)||^2 / ||xW||^2 over the sampled rows: noise to signal, 0 is perfect."""
    errors = {}
    for matmul in graph.matmuls():
        rows, weight = sites[matmul.site].sample, graph.weight(matmul.weight)
        exact = rows @ weight
        rounded = clips[matmul.site].apply(rows) @ ranges.weight(weight, per_channel)
        errors[matmul.node] = float(np.square(exact - rounded).sum() / max(np.square(exact).sum(), 1e-12))
    return errors


def most_sensitive(errors: Mapping[str, float], share: float) -> set[str]:
    """The `share` of matmuls with the largest error, rounded up to whole ones."""
    count = math.ceil(share * len(errors))
    return set(sorted(errors, key=lambda name: (-errors[name], name))[:count])
