from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.special import softmax as scipy_softmax

from core.errors import RuntimeFault
from drift import divergence
from drift.divergence import TokenScores

RNG = np.random.default_rng(5)


def noisy(scale: float, tokens: int = 40) -> TokenScores:
    reference = RNG.normal(0, 3, (tokens, 30)).astype(np.float32)
    variant = reference + RNG.normal(0, scale, reference.shape).astype(np.float32)
    return divergence.score(reference, variant, RNG.integers(0, 30, tokens))


def test_score_is_what_scipy_computes() -> None:
    reference, variant = RNG.normal(0, 4, (7, 50)), RNG.normal(0, 4, (7, 50))
    tokens = RNG.integers(0, 50, 7)
    found = divergence.score(reference, variant, tokens)
    p, q = scipy_softmax(reference, axis=1), scipy_softmax(variant, axis=1)
    np.testing.assert_allclose(found.kl, rel_entr(p, q).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.nll_reference, -np.log(p[np.arange(7), tokens]), rtol=1e-12)
    np.testing.assert_allclose(found.nll_variant, -np.log(q[np.arange(7), tokens]), rtol=1e-12)
    assert found.agrees.tolist() == (p.argmax(1) == q.argmax(1)).astype(float).tolist()


def test_kl_is_directed_and_zero_only_for_equal_distributions() -> None:
    one, two = RNG.normal(0, 2, (5, 9)), RNG.normal(0, 2, (5, 9))
    tokens = np.zeros(5, int)
    assert divergence.score(one, one + 100.0, tokens).kl == pytest.approx(np.zeros(5), abs=1e-12)
    assert not np.allclose(divergence.score(one, two, tokens).kl, divergence.score(two, one, tokens).kl)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    found = divergence.score(logits, logits[:, ::-1], [0])
    assert np.isfinite(found.kl).all()
    assert found.kl[0] == pytest.approx(1e4)


def test_a_logit_that_is_not_a_number_is_named() -> None:
    good, bad = np.zeros((2, 3), np.float32), np.array([[0, np.nan, 0], [0, 0, 0]], np.float32)
    with pytest.raises(RuntimeFault, match="the variant gave a logit"):
        divergence.score(good, bad, [0, 0])
    with pytest.raises(RuntimeFault, match="different vocabularies"):
        divergence.score(good, np.zeros((2, 4), np.float32), [0, 0])


def test_summary_rests_on_its_counts_and_more_noise_drifts_more() -> None:
    little = divergence.summarize([noisy(0.1) for _ in range(30)], seed=1)
    much = divergence.summarize([noisy(1.0) for _ in range(30)], seed=1)
    assert little is not None
    assert much is not None
    assert (little.items, little.tokens, little.kl_mean.count) == (30, 1200, 1200)
    assert little.kl_mean.low < little.kl_mean.value < little.kl_mean.high < much.kl_mean.low
    assert much.top1_agreement.high < little.top1_agreement.low
    assert little.kl_mean.value < little.kl_p99 <= little.kl_max
    assert little.perplexity_ratio.low < little.perplexity_ratio.value < little.perplexity_ratio.high


def test_intervals_are_clustered_by_item() -> None:
    """Forty copies of a token carry no more than one: repeating tokens inside items must not narrow the interval."""
    values = RNG.exponential(1.0, 25)

    def items(copies: int) -> list[TokenScores]:
        return [
            TokenScores(kl, (kl < 1.0).astype(float), kl, 2 * kl)
            for kl in (np.full(copies, value) for value in values)
        ]

    once, often = divergence.summarize(items(1), seed=2), divergence.summarize(items(40), seed=2)
    assert once is not None
    assert often is not None
    assert often.kl_mean.high - often.kl_mean.low == pytest.approx(once.kl_mean.high - once.kl_mean.low)
    wide, narrow = once.top1_agreement, often.top1_agreement
    assert narrow.high - narrow.low == pytest.approx(wide.high - wide.low, rel=0.1)


def test_bootstrap_covers_the_mean() -> None:
    """300 data sets of 40 items whose means differ: at least 90 % of the 95 % intervals hold the truth."""
    rng, covered = np.random.default_rng(11), 0
    for run in range(300):
        levels = rng.exponential(1.0, 40)
        data = [TokenScores(rng.exponential(level, 20), *[np.ones(20)] * 3) for level in levels]
        found = divergence.summarize(data, seed=run)
        assert found is not None
        covered += found.kl_mean.low <= 1.0 <= found.kl_mean.high
    assert covered / 300 >= 0.88


def test_full_agreement_still_has_a_width_and_one_item_has_no_interval() -> None:
    same = [noisy(0.0) for _ in range(10)]
    found = divergence.summarize(same, seed=0)
    assert found is not None
    assert (found.top1_agreement.value, found.top1_agreement.high) == (1.0, 1.0)
    assert found.top1_agreement.low < 0.75  # ten items cannot show more
    assert divergence.summarize(same[:1], seed=0) is None


def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, variant, tokens = RNG.normal(0, 4, (7, 50)), RNG.normal(0, 4, (7, 50)), RNG.integers(0, 50, 7)
    whole = divergence.score(reference, variant, tokens)
    monkeypatch.setattr(divergence, "BLOCK_LOGITS", 100)
    blocked = divergence.score(reference, variant, tokens)
    assert np.array_equal(whole.kl, blocked.kl)
    assert np.array_equal(whole.nll_variant, blocked.nll_variant)
    assert len(divergence.score(reference[:0], variant[:0], []).kl) == 0
