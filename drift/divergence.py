"""How far the variant's next-token distribution is from the reference's, on the reference's own outputs.

KL is sum over the vocabulary of p (log p - log q), p the reference's distribution, in nats per token. Tokens of one
answer are not independent: every interval resamples or clusters by item. Only four numbers a token are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import RuntimeFault
from core.records import Interval

Floats: TypeAlias = NDArray[np.float64]

GROUP = "Drift, teacher-forced"  # of the metrics that rest on token scores
LEVEL = 0.95
RESAMPLES = 2000
CARRIERS = 20  # where fewer items than this carry a figure, a bootstrap covers less than it says
UNSEEN = 3.0  # an event that n items do not show has a rate up to this over n, at 95 %
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


def carrying(sums: ArrayLike) -> float:
    """How many items carry the mean: (sum |x|)^2 / sum x^2 of each item's sum x; 0 where all are 0 (Kish 1965)."""
    sizes = np.abs(np.asarray(sums, dtype=np.float64))
    return float(sizes.sum() ** 2 / max(float((sizes**2).sum()), 1e-300))


def per_token(
    sums: ArrayLike, items: Sequence[TokenScores], seed: int, transform: Callable[[float], float] = float
) -> Interval:
    """`transform` (increasing) of the mean over all tokens, from each item's sum, with an interval over the items.

    Bootstrap-t: the resamples say how far a mean lies off in its own standard errors, which sees a skewed spread
    where their percentiles do not (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5; the
    standard error is a ratio estimator's). Where fewer than CARRIERS items carry the variance no resample knows how
    many of the large ones are still to come: percentiles then, moved out on both sides by the largest item seen, at
    the rate of 3 in n that an event may have which n items do not show (Hanley & Lippman-Hand, JAMA 1983). What
    happened in no item has no size to go by: where every sum is 0 the interval is a point.
    """
    totals, tokens = np.asarray(sums, dtype=np.float64), np.array([len(item.kl) for item in items], dtype=np.float64)
    count, tails = tokens.sum(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    mean, columns = totals.sum() / count, [totals, tokens, totals**2, totals * tokens, tokens**2]
    sums_of, tokens_of, squares, products, tokens_squared = (_drawn(len(items), seed) @ np.stack(columns, axis=1)).T
    means, residuals = sums_of / tokens_of, totals - mean * tokens
    if carrying(residuals**2) < CARRIERS:
        unseen = UNSEEN * np.abs(totals).max() / count
        low, high = np.quantile(means, tails)
        low, high = low - unseen, high + unseen
    else:
        # Sum of the squared residuals of each resample about its own mean, (total - mean * tokens)^2.
        around = squares - 2 * means * products + means**2 * tokens_squared
        off = (means - mean) * tokens_of / np.sqrt(np.maximum(around, 1e-300))
        low, high = mean - math.sqrt(float((residuals**2).sum())) / count * np.quantile(off, tails)[::-1]
    value, low, high = (float(transform(float(one))) for one in (mean, min(low, mean), max(high, mean)))
    return Interval(value=value, low=low, high=high, level=LEVEL, count=int(count))


@lru_cache(maxsize=2)
def _drawn(items: int, seed: int) -> Floats:
    """How often each resample has each item, shape (RESAMPLES, items)."""
    drawn = np.random.default_rng(seed).multinomial(items, [1 / items] * items, size=RESAMPLES)
    return drawn.astype(np.float64)
