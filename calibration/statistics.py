"""Statistics of every matmul input, over prefill and decode steps: how they are kept, and how quantizers read them.

For each input (a "site") and channel: lowest, highest, sum; and a uniform random sample of whole rows, from which a
recipe derives any clipping range, SmoothQuant factor or bias correction. Beside them lies the model's own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core import files
from core.errors import DataError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float32]
FILE = "statistics.safetensors"
PHASES = ("prefill", "decode")
TEXTS = "texts"  # <number>/prompt and <number>/reply: token ids


@dataclass(frozen=True)
class OwnText:
    """Token ids of a prompt and of what the original model answered, without its end token.

    Held out: the statistics have not seen the reply, so ranges that fit only what they saw show on it.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    held_out: bool


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


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write statistics atomically as safetensors."""
    from safetensors.torch import save_file

    with files.atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


def load(folder: Path, names: Sequence[str] = ()) -> dict[str, Site]:
    """The statistics of the sites in `names`, or of all; prefill and decode together: each gives half of the rows."""
    with _open(folder) as tensors:
        found = names or sorted({name.split("/")[1] for name in tensors.keys() if name.startswith(PHASES)})  # noqa: SIM118
        return {name: _merge([_phase(tensors, phase, name) for phase in PHASES]) for name in found}


def texts(start: int, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Prompts and replies as tensors to save, numbered from `start`."""
    import torch

    return {
        f"{TEXTS}/{start + number}/{part}": torch.tensor(ids, dtype=torch.int32)
        for number, both in enumerate(zip(prompts, replies, strict=True))
        for part, ids in zip(("prompt", "reply"), both, strict=True)
    }


def own_texts(folder: Path) -> list[OwnText]:
    """What the original answered in the decode phase, in the order of calibration; empty answers are left out."""
    with _open(folder) as tensors:
        count = sum(name.startswith(f"{TEXTS}/") for name in tensors.keys()) // 2  # noqa: SIM118
        found = []
        for number in range(count):
            prompt, reply = (
                tuple(tensors.get_tensor(f"{TEXTS}/{number}/{part}").tolist()) for part in ("prompt", "reply")
            )
            found.append(OwnText(prompt, reply, held_out(number)))
    return [text for text in found if text.reply]


def held_out(number: int) -> bool:
    """Whether the statistics leave out the reply of text `number`: every other one."""
    return number % 2 == 1


def _open(folder: Path) -> Any:
    """The file of statistics, read tensor by tensor."""
    from safetensors import safe_open

    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} not found: run `python -m stages.calibrate` first")
    return safe_open(path, framework="numpy")


def _phase(tensors: Any, phase: str, site: str) -> Site:
    part = {key: tensors.get_tensor(f"{phase}/{site}/{key}") for key in ("low", "high", "sum", "sample", "rows")}
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
