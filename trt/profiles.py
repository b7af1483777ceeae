"""Optimization profiles: which shapes an engine takes, and which profile a request runs with. Pure.

Prefill starts with an empty cache and reads whole prompts; decode reads one token over a filled cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from core.errors import RuntimeFault
from models.families import Architecture
from trt.params import CompileParams

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """Smallest, typical and largest size of one dimension."""

    low: int
    typical: int
    high: int

    def __contains__(self, size: int) -> bool:
        return self.low <= size <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Profile:
    """`batch` rows read `length` new tokens over `past` cached ones."""

    phase: Literal["prefill", "decode"]
    batch: Span
    length: Span
    past: Span

    def admits(self, batch: int, length: int, past: int) -> bool:
        return batch in self.batch and length in self.length and past in self.past

    def __str__(self) -> str:
        return f"{self.phase}: batch {self.batch}, {self.length} new tokens over {self.past} cached"

    def shapes(self, architecture: Architecture) -> dict[str, tuple[Shape, Shape, Shape]]:
        """Input name → smallest, typical and largest shape, as IOptimizationProfile.set_shape takes them."""
        corners = [(getattr(self.batch, at), getattr(self.length, at), getattr(self.past, at)) for at in CORNERS]
        low, typical, high = (input_shapes(architecture, *corner) for corner in corners)
        return {name: (low[name], typical[name], high[name]) for name in low}


CORNERS = ("low", "typical", "high")


def cache_names(layers: int) -> list[str]:
    """`0.key`, `0.value`, …: past_key_values.<name> goes in, present.<name> comes out."""
    return [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def input_shapes(architecture: Architecture, batch: int, length: int, past: int) -> dict[str, Shape]:
    """Shape of every input of the standard graph (export/standard.py)."""
    cache = (batch, architecture.kv_heads, past, architecture.head_dim)
    shapes: dict[str, Shape] = {
        "input_ids": (batch, length),
        "attention_mask": (batch, past + length),
        "position_ids": (batch, length),
    }
    return shapes | {f"past_key_values.{name}": cache for name in cache_names(architecture.layers)}


def plan(params: CompileParams) -> list[Profile]:
    """A prefill and a decode profile for each range of batch sizes that params name."""
    profiles = []
    lowest = 1
    for highest in params.batches:
        batch = Span(lowest, highest, highest)
        length = Span(1, max(1, params.prefill_tokens // 4), params.prefill_tokens)
        past = Span(1, max(1, params.context_tokens // 2), params.context_tokens - 1)
        profiles.append(Profile("prefill", batch, length, Span(0, 0, 0)))
        profiles.append(Profile("decode", batch, Span(1, 1, 1), past))
        lowest = highest + 1
    return profiles


def choose(profiles: Sequence[Profile], batch: int, length: int, past: int) -> int:
    """Index of the profile for a step. Raises RuntimeFault, listing every profile, when none takes it."""
    for index, profile in enumerate(profiles):
        if profile.admits(batch, length, past):
            return index
    listed = "; ".join(map(str, profiles))
    raise RuntimeFault(
        f"batch {batch} with {length} new tokens over {past} cached exceeds every profile of this engine ({listed}): "
        "send less, or raise compile.batches, compile.prefill_tokens or compile.context_tokens and run `dvc repro`"
    )


def to_json(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """For the manifest; `from_json` reads it back."""
    return [asdict(profile) for profile in profiles]


def from_json(entries: Any) -> list[Profile]:
    spans = ("batch", "length", "past")
    return [Profile(one["phase"], *(Span(**one[span]) for span in spans)) for one in entries]
