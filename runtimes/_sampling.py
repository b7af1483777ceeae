"""The next token by temperature and nucleus, in numpy, for an engine that has logits on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtimes import Sampling

Choose: TypeAlias = Callable[[NDArray[Any]], int]


def chooser(sampling: Sampling) -> Choose | None:
    """A function from logits of shape (vocabulary,) to a token id, with random numbers of its own; None if greedy."""
    if sampling.temperature == 0:
        return None
    random = np.random.default_rng(sampling.seed)

    def choose(logits: NDArray[Any]) -> int:
        scaled = logits.astype(np.float64) / sampling.temperature
        shares = np.exp(scaled - scaled.max())
        shares /= shares.sum()
        if sampling.top_p < 1:
            order = np.argsort(-shares, kind="stable")
            before = np.cumsum(shares[order]) - shares[order]
            shares[order[before >= sampling.top_p]] = 0  # the nucleus: the fewest tokens that reach top_p
            shares /= shares.sum()
        return int(random.choice(len(shares), p=shares))

    return choose
