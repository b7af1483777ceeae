"""What may be drawn, against transformers' own warpers; how often it is; and what a large vocabulary costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from core.errors import RuntimeFault
from runtimes import Sampling
from runtimes.sampling import candidates, next_tokens, sampler

SETTINGS = [
    Sampling(temperature, top_p, top_k=top_k)
    for temperature in (0.3, 1.0, 2.0)
    for top_p in (1.0, 0.95, 0.5, 1e-6)
    for top_k in (0, 1, 7, 10_000)
]


def wanted(logits: NDArray[np.float32], sampling: Sampling) -> NDArray[np.float64]:
    """Probabilities, of shape (vocabulary,), that transformers' `generate` draws from; computed in float64."""
    import torch
    from transformers import generation

    warpers = [generation.TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        warpers.append(generation.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(generation.TopPLogitsWarper(sampling.top_p))
    scores = torch.from_numpy(logits.astype(np.float64))[None]
    for warper in warpers:
        scores = warper(torch.empty(1, 0), scores)
    found: NDArray[np.float64] = scores.softmax(-1)[0].numpy()
    return found


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_it_draws_from_the_distribution_of_transformers(sampling: Sampling) -> None:
    for seed, size, spread in ((0, 50, 1.0), (1, 3000, 4.0), (2, 3000, 0.01)):
        logits = np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)
        ids, weights = candidates(logits, sampling)
        assert np.all(np.diff(ids) > 0)
        shares = np.zeros(size)
        shares[ids] = weights / weights.sum()
        np.testing.assert_allclose(shares, wanted(logits, sampling), atol=1e-12)


@pytest.mark.parametrize("sampling", [Sampling(1.0), Sampling(0.6, 0.95), Sampling(1.0, top_k=3)], ids=str)
def test_tokens_come_as_often_as_their_probability(sampling: Sampling) -> None:
    logits = np.log(np.array([0.02, 0.4, 0.01, 0.3, 0.15, 0.12], np.float32))
    choose = sampler(Sampling(sampling.temperature, sampling.top_p, 11, top_k=sampling.top_k))
    assert choose is not None
    counts = np.bincount([choose(logits) for _ in range(20_000)], minlength=6)
    shares = wanted(logits, sampling)
    possible = shares > 0
    assert not counts[~possible].any()
    assert stats.chisquare(counts[possible], 20_000 * shares[possible]).pvalue > 0.001
    assert stats.chisquare(counts[possible], np.full(possible.sum(), 20_000 / possible.sum())).pvalue < 1e-9


def test_of_equal_logits_the_lowest_ids_stay() -> None:
    ids, weights = candidates(np.array([1, 3, 2, 3, 2, 2], np.float16), Sampling(1.0, top_k=3))
    assert ids.tolist() == [1, 2, 3]
    assert weights[0] == weights[2] == 1
    assert next_tokens([sampler(Sampling(9.0, top_k=1, seed=1)), None], np.ones((2, 5), np.float32)) == [0, 0]


def test_rounding_of_logits_hardly_ever_changes_an_answer() -> None:
    """Another batch rounds otherwise: two tokens that change places must not take each other's random numbers."""
    rng = np.random.default_rng(0)
    ties, usual = rng.choice([0.0, 1.0, 2.0], 1000), rng.normal(0, 2, 1000)
    for logits, sampling in ((ties, Sampling(1.0, seed=3)), (usual, Sampling(1.0, 0.95, 3))):
        rounded = logits + rng.normal(0, 1e-6, 1000)
        one, other = sampler(sampling), sampler(sampling)
        assert one is not None
        assert other is not None
        assert np.mean([one(logits) != other(rounded) for _ in range(1000)]) < 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    choose = sampler(Sampling(1.0, 0.9, 0))
    assert choose is not None
    with pytest.raises(RuntimeFault, match="NaN or infinite"):
        choose(np.array([0.0, bad, 1.0], np.float32))


def test_a_large_vocabulary_is_not_sorted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1's settings at 152,064 words: 1.5 ms a token where sorting them all took 26."""
    logits = np.random.default_rng(0).normal(0, 2.5, 152_064).astype(np.float32)
    logits[:5] += 15
    sizes: list[int] = []
    argsort = np.argsort

    def counted(array: NDArray[np.float64], **how: Any) -> NDArray[np.int64]:
        sizes.append(len(array))
        return argsort(array, **how)

    monkeypatch.setattr(np, "argsort", counted)
    candidates(logits, Sampling(0.6, 0.95))
    candidates(logits, Sampling(0.7, 0.8, top_k=20))
    assert max(sizes) < 1000
