"""How a token is chosen from logits at a temperature, for every runtime that gives logits.

In transformers' and vLLM's order: temperature, then `top_k`, then the nucleus `top_p` of what `top_k` left. Sorting
152,000 words would take ten times as long as the rest, so only those are sorted that the nucleus may hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import RuntimeFault
from runtimes import Sampling

Sampler: TypeAlias = Callable[[NDArray[Any]], int]


def samplers(sampling: Sequence[Sampling] | None, prompts: int) -> list[Sampler | None]:
    """A sampler for each of `prompts` prompts; all None where `sampling` is."""
    if sampling is not None and len(sampling) != prompts:
        raise ValueError(f"{prompts} prompts with {len(sampling)} samplings")
    return [sampler(one) for one in sampling] if sampling is not None else [None] * prompts


def sampler(sampling: Sampling) -> Sampler | None:
    """A function from logits of shape (vocabulary,) to a token id, with random numbers of its own; None if greedy.

    One random number a token, so that an answer depends on its seed and its own logits only.
    """
    if sampling.temperature == 0:
        return None
    random = np.random.default_rng(sampling.seed)

    def choose(logits: NDArray[Any]) -> int:
        ids, weights = candidates(logits, sampling)
        below = np.cumsum(weights)
        return int(ids[np.searchsorted(below[:-1], random.random() * below[-1], side="right")])

    return choose


def next_tokens(chosen_by: Sequence[Sampler | None], logits: NDArray[Any]) -> list[int]:
    """The next token of each row of `logits` (rows, vocabulary); the likeliest one where the sampler is None."""
    likeliest: list[int] = logits.argmax(-1).tolist() if None in chosen_by else [0] * len(logits)
    return [choose(row) if choose else best for choose, row, best in zip(chosen_by, logits, likeliest, strict=True)]


def candidates(logits: NDArray[Any], sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Token ids that may come next, and their weights (probabilities but for a factor).

    Ids ascend: rounding that swaps two tokens of nearly one weight then moves neither's part of the random numbers.
    Of equal logits at the edge of `top_k` the lowest ids stay, so that `top_k` 1 is the greedy choice.
    """
    ids, kept = np.arange(len(logits)), logits
    if 0 < sampling.top_k < len(logits):
        least = np.partition(logits, -sampling.top_k)[-sampling.top_k]
        above = np.flatnonzero(logits > least)
        ids = np.sort(np.append(above, np.flatnonzero(logits == least)[: sampling.top_k - len(above)]))
        kept = logits[ids]
    scaled = kept.astype(np.float64) / sampling.temperature
    largest = scaled.max()
    if not np.isfinite(largest):
        raise RuntimeFault("the model's logits are NaN or infinite: no token can be drawn from them")
    weights = np.exp(scaled - largest)
    if sampling.top_p < 1:
        total = weights.sum()
        # The others weigh at most 1 - top_p together, so the nucleus is among these: only they are sorted.
        likely = np.flatnonzero(weights > (1 - sampling.top_p) * total / len(weights))
        likely = likely[np.argsort(-weights[likely], kind="stable")]
        before = np.cumsum(weights[likely]) - weights[likely]
        nucleus = np.sort(likely[before < sampling.top_p * total])  # the fewest tokens that reach top_p
        ids, weights = ids[nucleus], weights[nucleus]
    return ids, weights
