"""vLLM on a GPU, held to the contract of every runtime. `make test` leaves it out and says so.

    make test-vllm

It fails, never skips, where there is no GPU. The shipped model in bf16 against torch in float32: rounding may turn a
near tie, so distributions are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import RuntimeFault
from models.params import Recipe
from quantizers import Context
from quantizers.parts import version
from runtimes import Event, Logits, Runtime, Sampling, TokenIds, vllm
from runtimes import torch as reference
from runtimes.sampling import candidates

pytestmark = pytest.mark.gpu
MODEL = Path(__file__).parents[2] / "models/reference"
OPTIONS = {"engine": {"gpu_memory_utilization": 0.1, "kv_cache_mib": 512, "max_num_seqs": 16}}
THREADS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bf16")
    recipe = Recipe(quantizer="checkpoint", runtime="vllm", options=OPTIONS)
    version.make("bf16", recipe, Context(MODEL, MODEL, MODEL, MODEL, THREADS, 0), made)
    return made


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[Runtime]:
    assert vllm.available() is None
    loaded = vllm.load(folder, THREADS)
    yield loaded
    loaded.close()
    loaded.close()  # the contract: twice is fine


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [[1, *rng.integers(5, 500, length).tolist()] for length in (20, 7, 33, 12)]


def _log_softmax(logits: Logits) -> Logits:
    shifted = logits - logits.max(-1, keepdims=True)
    found: Logits = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found


def test_logits_follow_torch(runtime: Runtime, prompts: list[list[int]]) -> None:
    expected = reference.load(MODEL, THREADS).logits(prompts)
    for one, other, prompt in zip(expected, runtime.logits(prompts), prompts, strict=True):
        assert other.shape == (len(prompt), 512)
        assert other.dtype == np.float32
        p, q = _log_softmax(one), _log_softmax(other)
        assert (np.exp(p) * (p - q)).sum(-1).mean() < 0.02
        assert np.abs(one - other).max() < 0.1 * np.abs(one).max(), "raw logits, not normalised ones"


def test_a_batch_comes_back_in_order_with_a_step_for_each_token(runtime: Runtime, prompts: list[list[int]]) -> None:
    steps: list[int] = []
    answers = runtime.generate(prompts, 16, ignore_eos=True, on_step=steps.append)
    assert steps == list(range(16))
    assert [len(answer.token_ids) for answer in answers] == [16] * len(prompts)
    first = [int(rows[-1].argmax()) for rows in runtime.logits(prompts)]
    assert [answer.token_ids[0] for answer in answers] == first


def test_an_answer_ends_at_the_end_token_or_the_limit(runtime: Runtime, prompts: list[list[int]]) -> None:
    for answer in runtime.generate(prompts, 64):
        assert 2 not in answer.token_ids
        assert answer.finished == (len(answer.token_ids) < 64)


def test_a_seed_draws_the_same_again_and_beside_others(runtime: Runtime, prompts: list[list[int]]) -> None:
    drawn = [Sampling(1.0, 0.95, seed, top_k=50) for seed in range(len(prompts))]
    answers = runtime.generate(prompts, 24, sampling=drawn)
    assert runtime.generate(prompts, 24, sampling=drawn) == answers
    others = runtime.generate(
        prompts, 24, sampling=[replace(one, seed=99 + index) for index, one in enumerate(drawn)]
    )
    assert all(one != other for one, other in zip(answers, others, strict=True))
    alone = [runtime.generate([prompt], 24, sampling=[one])[0] for prompt, one in zip(prompts, drawn, strict=True)]
    assert (
        np.mean([one.token_ids[:4] == other.token_ids[:4] for one, other in zip(answers, alone, strict=True)]) > 0.5
    )
    assert len({answer.token_ids for answer in runtime.generate(prompts[:1] * 4, 24, sampling=drawn)}) == 4


def test_the_likeliest_token_alone_is_greedy(runtime: Runtime, prompts: list[list[int]]) -> None:
    only = [Sampling(2.0, top_k=1, seed=seed) for seed in range(len(prompts))]
    both = zip(runtime.generate(prompts, 24, sampling=only), runtime.generate(prompts, 24), strict=True)
    assert np.mean([one == other for one, other in both]) >= 0.75, "vLLM draws between equal logits, as bf16 has them"


def test_first_tokens_come_as_often_as_they_should(runtime: Runtime, prompts: list[list[int]]) -> None:
    """Over a flat distribution of several words, so that a top_k or top_p that is not applied shows."""
    from scipy import stats

    sampling, draws, batch = Sampling(2.0, 0.9, top_k=8), 1600, 16
    ids, weights = candidates(runtime.logits(prompts[:1])[0][-1], sampling)
    seen: list[int] = []
    for start in range(0, draws, batch):
        seeded = [replace(sampling, seed=start + index) for index in range(batch)]
        answers = runtime.generate(prompts[:1] * batch, 1, ignore_eos=True, sampling=seeded)
        seen += [answer.token_ids[0] for answer in answers]
    assert 2 <= len(ids) <= 8
    assert set(seen) <= set(ids.tolist())
    counts = [seen.count(token) for token in ids.tolist()]
    assert stats.chisquare(counts, draws * weights / weights.sum()).pvalue > 0.001


def test_too_long_is_refused(runtime: Runtime) -> None:
    with pytest.raises(RuntimeFault, match="exceed the engine's context of 512"):
        runtime.generate([[1] * 500], 64)


def test_the_engine_batches_cancels_and_ends(folder: Path, runtime: Runtime, prompts: list[list[int]]) -> None:
    alone = runtime.generate(prompts, 24, ignore_eos=True)
    runtime.close()
    engine = vllm.engine(folder, THREADS, 64)
    try:
        assert (engine.max_batch, engine.context_tokens) == (16, 512)
        handles = [engine.submit(prompt, 24, Sampling(ignore_eos=True)) for prompt in prompts]
        engine.cancel(handles[1])
        engine.cancel(99)
        events: list[Event] = []
        while not {event.handle for event in events if event.finish} >= {*handles} - {handles[1]}:
            events += engine.step()
        assert handles[1] not in {event.handle for event in events}
        for index in (0, 2, 3):
            own = [event for event in events if event.handle == handles[index]]
            assert (own[-1].finish, len(own)) == ("length", 24)
            assert _same_share([event.token or 0 for event in own], alone[index].token_ids) > 0.5
        assert engine.step() == []
    finally:
        engine.close()
        engine.close()


def _same_share(one: TokenIds, other: TokenIds) -> float:
    """Another batch may round a near tie the other way, and everything after it differs."""
    return float(np.mean([a == b for a, b in zip(one, other, strict=True)]))
