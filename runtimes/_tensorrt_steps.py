"""What a step feeds to an engine, and what the KV cache then holds. Pure: numpy in, numpy out.

Prompts are padded on the right, where causal attention never lets a real token see them; the attention mask hides
the same columns of the cache from every later step. A row is `prompt, padding, answer`; its positions skip the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.families import Architecture
from runtimes import TokenIds
from trt import profiles

Ids: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Feed:
    """int64 inputs of one step: (batch, length), (batch, past + length), (batch, length); and the cached columns."""

    input_ids: Ids
    attention_mask: Ids
    position_ids: Ids
    past: int

    @property
    def batch(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def length(self) -> int:
        return int(self.input_ids.shape[1])


class Batch:
    """The bookkeeping of one batch of prompts from its prefill on."""

    def __init__(self, prompts: Sequence[TokenIds]) -> None:
        self.lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        width = int(self.lengths.max())
        self._columns = np.arange(width)
        self._mask: Ids = (self._columns[None, :] < self.lengths[:, None]).astype(np.int64)
        self._ids = np.zeros_like(self._mask)
        for row, prompt in enumerate(prompts):
            self._ids[row, : len(prompt)] = prompt
        self._generated = 0

    def prefill(self) -> Feed:
        """All prompts over an empty cache. The last real token of row i stands in column `lengths[i] - 1`."""
        return Feed(self._ids, self._mask, np.broadcast_to(self._columns, self._ids.shape).copy(), past=0)

    def decode(self, tokens: Sequence[int]) -> Feed:
        """One new token for each row, over everything fed so far."""
        past = self._mask.shape[1]
        self._mask = np.concatenate([self._mask, np.ones((len(tokens), 1), np.int64)], axis=1)
        positions = (self.lengths + self._generated)[:, None]
        self._generated += 1
        return Feed(np.array(tokens, dtype=np.int64)[:, None], self._mask, positions, past)


def shapes(architecture: Architecture, feed: Feed) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shape of every input and of every output of a step, by name."""
    total = feed.past + feed.length
    cache = (feed.batch, architecture.kv_heads, total, architecture.head_dim)
    outputs: dict[str, Any] = {"logits": (feed.batch, feed.length, architecture.vocabulary)}
    outputs |= {f"present.{name}": cache for name in profiles.cache_names(architecture.layers)}
    return profiles.input_shapes(architecture, feed.batch, feed.length, feed.past), outputs
