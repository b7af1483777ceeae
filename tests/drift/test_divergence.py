from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.special import softmax as scipy_softmax

from core.errors import RuntimeFault
from drift import divergence
from drift.divergence import TokenScores
from drift.records import Metric
from tests.drift.metrics import seen

RNG = np.random.default_rng(5)


def noisy(scale: float, tokens: int = 40) -> TokenScores:
    reference = RNG.normal(0, 3, (tokens, 30)).astype(np.float32)
    variant = reference + RNG.normal(0, scale, reference.shape).astype(np.float32)
    return divergence.score(reference, variant, RNG.integers(0, 30, tokens))


def value(metric: Metric) -> float:
    assert metric.value is not None
    return metric.value


def bounds(metric: Metric) -> tuple[float, float, float]:
    """Low, value, high."""
    assert metric.low is not None
    assert metric.high is not None
    return metric.low, value(metric), metric.high


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


def test_figures_rest_on_their_counts_and_more_noise_drifts_more() -> None:
    little = seen.teacher_forced([noisy(0.1) for _ in range(30)], seed=1)
    much = seen.teacher_forced([noisy(1.0) for _ in range(30)], seed=1)
    assert {metric.count for metric in little.values()} == {1200}
    kl = bounds(little["kl_mean_nats"])
    assert kl[0] < kl[1] < kl[2] < bounds(much["kl_mean_nats"])[0]
    assert bounds(much["top1_agreement"])[2] < bounds(little["top1_agreement"])[0]
    assert kl[1] < value(little["kl_p99_nats"]) <= value(little["kl_max_nats"])
    ratio = bounds(little["perplexity_ratio"])
    assert ratio[0] < ratio[1] < ratio[2]
    both = little["perplexity"]
    assert value(both) / (both.reference or 0.0) == pytest.approx(ratio[1])


def test_intervals_are_clustered_by_item() -> None:
    """Forty copies of a token carry no more than one: repeating tokens inside items must not narrow the interval."""
    values = RNG.exponential(1.0, 100)

    def widths(copies: int) -> list[float]:
        items = [
            TokenScores(kl, (kl < 1.0).astype(float), kl, 2 * kl)
            for kl in (np.full(copies, value) for value in values)
        ]
        found = seen.teacher_forced(items, seed=2)
        both = (bounds(found["kl_mean_nats"]), bounds(found["top1_agreement"]))
        return [high - low for low, _, high in both]

    once, often = widths(1), widths(40)
    assert often[0] == pytest.approx(once[0])
    assert often[1] == pytest.approx(once[1], rel=0.1)


def test_bootstrap_covers_the_mean() -> None:
    """300 data sets of 40 items whose means differ: at least 90 % of the 95 % intervals hold the truth."""
    rng, covered = np.random.default_rng(11), 0
    for run in range(300):
        levels = rng.exponential(1.0, 40)
        data = [TokenScores(rng.exponential(level, 20), *[np.ones(20)] * 3) for level in levels]
        found = divergence.per_token([item.kl.sum() for item in data], data, seed=run)
        covered += found.low <= 1.0 <= found.high
    assert covered / 300 >= 0.88


def rare(events: int, items: int = 100) -> list[TokenScores]:
    """Items of ten tokens; in the first `events` of them one token has a KL, and an excess, of 2 nats."""
    zero, hit = np.zeros(10), np.array([2.0, *[0.0] * 9])
    return [TokenScores(kl, zero, zero, kl) for kl in [hit] * events + [zero] * (items - events)]


def test_a_mean_that_few_items_carry_has_no_interval() -> None:
    few, enough = (seen.teacher_forced(rare(events), seed=3)["kl_mean_nats"] for events in (19, 20))
    assert value(few) == pytest.approx(0.038)
    assert (few.low, few.high, few.level, few.count) == (None, None, None, 1000)
    assert bounds(enough)[0] < 0.04 < bounds(enough)[2]
    assert enough.level == 0.95


def test_the_perplexity_ratio_allows_for_what_was_not_seen() -> None:
    """One token of 1,000 is 2 nats worse: up to 5.57 such tokens (Poisson, 97.5 %) are possible."""
    low, ratio, high = bounds(seen.teacher_forced(rare(1), seed=3)["perplexity_ratio"])
    assert low < 1.0
    assert ratio == pytest.approx(np.exp(2 / 1000))
    assert np.exp(5.57 * 2 / 1000) < high < np.exp(12 * 2 / 1000)


def test_resampling_sees_that_the_spread_is_skewed() -> None:
    """Of a skewed figure more lies above the mean of the data than below: the upper arm is the longer one."""
    values = np.random.default_rng(4).gamma(0.3, 1, 200)
    skewed = [TokenScores(np.full(4, value), *[np.ones(4)] * 3) for value in values]
    low, mean, high = bounds(seen.teacher_forced(skewed, seed=4)["kl_mean_nats"])
    assert high - mean > 1.15 * (mean - low)


def test_full_agreement_still_has_a_width_and_one_item_has_no_interval() -> None:
    same = [noisy(0.0) for _ in range(10)]
    low, agreement, high = bounds(seen.teacher_forced(same, seed=0)["top1_agreement"])
    assert (agreement, high) == (1.0, 1.0)
    assert low < 0.75  # ten items cannot show more
    assert seen.teacher_forced(same[:1], seed=0) == {}


def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, variant, tokens = RNG.normal(0, 4, (7, 50)), RNG.normal(0, 4, (7, 50)), RNG.integers(0, 50, 7)
    whole = divergence.score(reference, variant, tokens)
    monkeypatch.setattr(divergence, "BLOCK_LOGITS", 100)
    blocked = divergence.score(reference, variant, tokens)
    assert np.array_equal(whole.kl, blocked.kl)
    assert np.array_equal(whole.nll_variant, blocked.nll_variant)
    assert len(divergence.score(reference[:0], variant[:0], []).kl) == 0
