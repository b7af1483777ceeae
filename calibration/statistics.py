"""Running statistics of every matmul input, over prefill and decode steps, in memory that the data cannot grow.

For each input (a "site") and channel: lowest, highest, sum; and a uniform random sample of whole rows, from which a
recipe derives any clipping range, SmoothQuant factor or bias correction. Calibrators that keep every output run out
of memory (microsoft/onnxruntime #10503); one that sees prefill only is wrong about decode (optimum #1853).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core import files
from core.errors import DataError

Array = NDArray[np.float32]
FILE = "statistics.safetensors"
PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class Site:
    """One matmul input. `sample` is (rows, channels); the others are (channels,). `rows` counts the rows seen."""

    low: Array
    high: Array
    mean: Array
    sample: Array
    rows: int

    @property
    def absmax(self) -> Array:
        return np.maximum(np.abs(self.low), np.abs(self.high))


def site_modules(layers: int) -> dict[str, str]:
    """Site name → the torch module whose input it is. q, k, v share one input, as do gate and up."""
    sites = {}
    for layer in range(layers):
        block = f"model.layers.{layer}"
        sites[f"{layer}.attention"] = f"{block}.self_attn.q_proj"
        sites[f"{layer}.o"] = f"{block}.self_attn.o_proj"
        sites[f"{layer}.mlp"] = f"{block}.mlp.gate_proj"
        sites[f"{layer}.down"] = f"{block}.mlp.down_proj"
    return sites | {"head": "lm_head"}


@dataclass
class Collector:
    """Accumulates the statistics of one phase of all sites. `mask` marks the real tokens of the batch in hand."""

    sample_rows: int
    generator: torch.Generator
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    mask: torch.Tensor | None = None

    def hook(self, site: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def record(_module: Any, inputs: tuple[Any, ...]) -> None:
            if self.mask is not None:
                self.add(site, inputs[0][self.mask[:, -inputs[0].shape[1] :]])

        return record

    def add(self, site: str, rows: torch.Tensor) -> None:
        """Fold `rows` (count, channels) into the statistics of `site`."""
        rows = rows.float()
        keys = torch.rand(len(rows), generator=self.generator)
        names = ("low", "high", "sum", "rows", "sample", "keys")
        if f"{site}/rows" not in self.tensors:
            empty = (
                rows[:0].sum(0),
                rows[:0].sum(0),
                rows[:0].double().sum(0),
                torch.tensor([0]),
                rows[:0],
                keys[:0],
            )
            self.tensors |= {f"{site}/{name}": tensor for name, tensor in zip(names, empty, strict=True)}
            self.tensors[f"{site}/low"] = rows.amin(0)
            self.tensors[f"{site}/high"] = rows.amax(0)
        low, high, total, count, sample, kept = (self.tensors[f"{site}/{name}"] for name in names)
        torch.minimum(low, rows.amin(0), out=low)
        torch.maximum(high, rows.amax(0), out=high)
        total += rows.double().sum(0)
        count += len(rows)
        sample, kept = _keep_largest(sample, kept, rows, keys, self.sample_rows)
        self.tensors |= {f"{site}/sample": sample, f"{site}/keys": kept}


def _keep_largest(
    sample: torch.Tensor, kept: torch.Tensor, rows: torch.Tensor, keys: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows with the `size` largest random keys: a uniform sample of all rows seen so far.

    A full sample is changed in place, where a new row displaces an old one: few do, once many have been seen.
    """
    if len(kept) < size:
        room = size - len(kept)
        sample, kept = torch.cat([sample, rows[:room]]), torch.cat([kept, keys[:room]])
        rows, keys = rows[room:], keys[room:]
    chosen = torch.cat([kept, keys]).topk(len(kept)).indices
    arrived = chosen[chosen >= len(kept)] - len(kept)
    stays = torch.zeros(len(kept), dtype=torch.bool)
    stays[chosen[chosen < len(kept)]] = True
    leaves = (~stays).nonzero().flatten()
    sample[leaves], kept[leaves] = rows[arrived], keys[arrived]
    return sample, kept


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write statistics atomically as safetensors."""
    from safetensors.torch import save_file

    with files.atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


def load(folder: Path) -> dict[str, Site]:
    """The statistics of every site, prefill and decode together: each phase gives half of the sampled rows."""
    from safetensors.numpy import load_file

    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} not found: run `python -m stages.calibrate` first")
    tensors = load_file(path)
    names = sorted({name.split("/")[1] for name in tensors})
    return {name: _merge([_phase(tensors, phase, name) for phase in PHASES]) for name in names}


def _phase(tensors: dict[str, Any], phase: str, site: str) -> Site:
    part = {key: tensors[f"{phase}/{site}/{key}"] for key in ("low", "high", "sum", "sample", "rows")}
    rows = int(part["rows"][0])
    return Site(part["low"], part["high"], (part["sum"] / rows).astype(np.float32), part["sample"], rows)


def _merge(phases: Sequence[Site]) -> Site:
    total = sum(phase.rows for phase in phases)
    return Site(
        low=np.minimum.reduce([phase.low for phase in phases]),
        high=np.maximum.reduce([phase.high for phase in phases]),
        mean=np.mean([phase.mean for phase in phases], axis=0, dtype=np.float32),
        sample=np.concatenate([phase.sample for phase in phases]),
        rows=total,
    )
