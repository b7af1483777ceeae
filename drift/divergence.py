"""How far the variant's next-token distribution is from the reference's, on the reference's own outputs.

KL is sum over the vocabulary of p (log p - log q), p the reference's distribution, in nats per token. Tokens of one
answer are not independent: every interval resamples or clusters by item. Only four numbers a token are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import RuntimeFault
from core.records import Interval

Floats: TypeAlias = NDArray[np.float64]

GROUP = "Drift, teacher-forced"  # of the metrics that rest on token scores
LEVEL = 0.95
RESAMPLES = 2000
BLOCK_LOGITS = 2**22  # logits widened to float64 at once: bounds memory at large vocabularies


@dataclass(frozen=True)
class TokenScores:
    """One number a position, arrays of shape (tokens,): KL and negative log-likelihoods in nats, agreement 0 or 1."""

    kl: Floats
    agrees: Floats
    nll_reference: Floats
    nll_variant: Floats


def score(reference: NDArray[Any], variant: NDArray[Any], tokens: ArrayLike) -> TokenScores:
    """Compare two systems' logits, float of shape (tokens, vocabulary), at positions whose next token is `tokens`.

    Raises RuntimeFault when the shapes differ or a logit is not a number.
    """
    if reference.shape != variant.shape:
        raise RuntimeFault(
            f"logits of shape {reference.shape} against {variant.shape}: different vocabularies, or one system "
            "dropped positions"
        )
    chosen = np.asarray(tokens, dtype=np.int64)
    size = max(1, BLOCK_LOGITS // reference.shape[1])
    blocks = [slice(start, start + size) for start in range(0, max(len(chosen), 1), size)]
    parts = [_score_block(reference[block], variant[block], chosen[block]) for block in blocks]
    return TokenScores(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _score_block(
    reference: NDArray[Any], variant: NDArray[Any], chosen: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats, Floats]:
    for side, logits in (("the reference", reference), ("the variant", variant)):
        if not np.isfinite(logits).all():
            raise RuntimeFault(f"{side} gave a logit that is not a finite number: its weights or scales overflow")
    log_p, log_q = log_softmax(reference), log_softmax(variant)
    rows = np.arange(len(log_p))
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    agrees = (reference.argmax(axis=1) == variant.argmax(axis=1)).astype(np.float64)
    # A true KL is never negative; rounding can give -1e-16.
    return np.maximum(kl, 0.0), agrees, -log_p[rows, chosen], -log_q[rows, chosen]


def log_softmax(logits: NDArray[Any]) -> Floats:
    """Natural log of the softmax over the last axis, computed in float64 after subtracting the maximum."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def scored(scores: Sequence[TokenScores]) -> list[TokenScores]:
    """The items that have tokens; none where there are fewer than two: no spread to see."""
    items = [item for item in scores if len(item.kl)]
    return items if len(items) > 1 else []


def per_token(
    sums: ArrayLike, items: Sequence[TokenScores], seed: int, transform: Callable[[Any], Any] = np.asarray
) -> Interval:
    """`transform` of the mean over all tokens, from each item's sum, with a percentile bootstrap over the items.

    The interval covers less than it says where a handful of tokens carry the mean (84 % of simulated data sets of 256
    items in which 1 token of 3,000 differs).
    """
    totals, tokens = np.asarray(sums), np.array([len(item.kl) for item in items], dtype=np.float64)
    drawn = np.random.default_rng(seed).multinomial(len(items), [1 / len(items)] * len(items), size=RESAMPLES)
    count = int(tokens.sum())
    value = float(transform(float(totals.sum() / count)))
    low, high = np.quantile(transform(drawn @ totals / (drawn @ tokens)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), level=LEVEL, count=count)
