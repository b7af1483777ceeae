"""The runtime contract. Each file here is one runtime; its file name is its name in params.

A runtime module has `load(folder, threads) -> Runtime`. `folder` is a variant's folder (or, for `torch`, a model's).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

TokenIds: TypeAlias = Sequence[int]
Logits: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Generation:
    """One answer: new token ids without the prompt and without the end token; `finished` if the end token came."""

    token_ids: tuple[int, ...]
    finished: bool


class Runtime(Protocol):
    """Greedy generation and teacher forcing over one loaded model."""

    name: str
    version: str

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Greedy continuation of all `prompts` as one batch, in order, at most `max_tokens` new tokens each.

        `ignore_eos` generates exactly `max_tokens` tokens (benchmarks). `on_step(i)` is called right after the i-th
        token (from 0) of the batch exists, so that a caller can time TTFT and ITL.
        """
        ...

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing: for each sequence float32 logits of shape (len(sequence), vocabulary)."""
        ...

    def close(self) -> None:
        """Free the model. Calling it twice is fine."""
        ...
