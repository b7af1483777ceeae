"""The engine contract: requests join and leave while others run, and each gets the tokens it would get alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import RequestError
from export import fused
from runtimes import Engine, Event, Generation, Sampling, ort
from runtimes.onnxruntime_genai import continuous_batching, genai_config
from runtimes.onnxruntime_genai.genai_engine import GenaiEngine

MAX_TOKENS = 20
BATCH = 4


@pytest.fixture(scope="module")
def version(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with end tokens that its answers do meet, at different lengths."""
    folder = tmp_path_factory.mktemp("ends") / "fp32"
    fused.export(tiny_qwen2, folder, 2)
    whole = ort.load(folder, 2).generate(prompts(), MAX_TOKENS, ignore_eos=True)
    config = genai_config.read(folder)
    config["model"]["eos_token_id"] = [2, whole[0].token_ids[3], whole[1].token_ids[11]]
    (folder / genai_config.GENAI_CONFIG).write_text(json.dumps(config))
    return folder


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [rng.integers(10, 290, length).tolist() for length in (9, 3, 40, 1, 6, 17, 5, 12)]


@pytest.fixture(scope="module")
def alone(version: Path) -> list[Generation]:
    runtime = ort.load(version, 2)
    return [runtime.generate([prompt], MAX_TOKENS)[0] for prompt in prompts()]


ENGINES: dict[str, Callable[[Path, int, int], Engine]] = {
    "ours": continuous_batching.ContinuousBatching,
    "genai": GenaiEngine,
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, version: Path) -> Engine:
    return ENGINES[request.param](version, 2, BATCH)


def collect(events: list[Event], answers: dict[int, list[int]], ends: dict[int, str]) -> None:
    for event in events:
        assert event.handle not in ends, "an event after the end"
        if event.token is not None:
            answers.setdefault(event.handle, []).append(event.token)
        if event.finish:
            ends[event.handle] = event.finish


@pytest.mark.parametrize("every", [0, 1, 3])
def test_joining_in_the_middle_changes_no_token(engine: Engine, alone: list[Generation], every: int) -> None:
    assert {answer.finished for answer in alone} == {True, False}, "the case must have both ends"
    waiting = list(enumerate(prompts()))
    number: dict[int, int] = {}
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    step = 0
    while waiting or len(ends) < len(alone):
        while waiting and len(number) - len(ends) < BATCH and (not every or step % every == 0):
            index, prompt = waiting.pop(0)
            number[engine.submit(prompt, MAX_TOKENS, Sampling())] = index
            if every:
                break
        collect(engine.step(), answers, ends)
        step += 1
    for handle, index in number.items():
        assert tuple(answers.get(handle, ())) == alone[index].token_ids
        assert ends[handle] == ("stop" if alone[index].finished else "length")
    engine.close()
    engine.close()


def test_a_late_request_does_not_wait_for_the_batch(version: Path) -> None:
    engine = ort.engine(version, 2, BATCH)
    long = engine.submit(prompts()[2], 100, Sampling())
    engine.step()
    late = engine.submit([11, 12], 3, Sampling())
    events = [engine.step() for _ in range(3)]
    assert [event.handle for event in events[0]] == [late, long]
    assert late in {event.handle for step in events for event in step if event.finish}


def test_cancelling_frees_the_place_and_leaves_the_others_alone(engine: Engine, alone: list[Generation]) -> None:
    chosen = [2, 4, 5, 7]
    handles = [engine.submit(prompts()[index], MAX_TOKENS, Sampling()) for index in chosen]
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    collect(engine.step(), answers, ends)
    engine.cancel(handles[0])
    engine.cancel(handles[0])
    for _ in range(2 * MAX_TOKENS):
        collect(engine.step(), answers, ends)
    assert set(ends) == set(handles[1:])
    assert len(answers.get(handles[0], [])) <= 1
    for handle, index in list(zip(handles, chosen, strict=True))[1:]:
        assert tuple(answers.get(handle, ())) == alone[index].token_ids


def test_a_long_prompt_is_read_in_chunks_while_others_go_on(
    version: Path, alone: list[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuous_batching, "CHUNK_TOKENS", 8)
    engine = ort.engine(version, 2, BATCH)
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    short, long = (engine.submit(prompts()[index], MAX_TOKENS, Sampling()) for index in (4, 2))
    before = 0
    while len(ends) < 2:
        collect(engine.step(), answers, ends)
        before += long not in answers
    assert before >= 5  # 40 tokens in chunks of 8, after the short one's own
    assert tuple(answers[short]) == alone[4].token_ids
    assert tuple(answers[long]) == alone[2].token_ids


def test_buffers_grow_without_a_change(version: Path, alone: list[Generation]) -> None:
    engine = ort.engine(version, 2, BATCH)
    first = engine.submit(prompts()[2], MAX_TOKENS, Sampling())
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    collect(engine.step(), answers, ends)
    engine.submit(prompts()[5], 400, Sampling())
    while first not in ends:
        collect(engine.step(), answers, ends)
    assert tuple(answers[first]) == alone[2].token_ids


@pytest.mark.parametrize("wrong", [[5, -1], [5, 10_000], [2**40], []])
def test_a_request_that_it_cannot_take_is_refused_and_the_others_go_on(
    engine: Engine, alone: list[Generation], wrong: list[int]
) -> None:
    handle = engine.submit(prompts()[2], MAX_TOKENS, Sampling())
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    collect(engine.step(), answers, ends)
    with pytest.raises(RequestError, match="outside the 294 embedding rows" if wrong else "has no tokens"):
        engine.submit(wrong, 2, Sampling())
    other = engine.submit(prompts()[4], MAX_TOKENS, Sampling())
    while len(ends) < 2:
        collect(engine.step(), answers, ends)
    assert [tuple(answers.get(one, ())) for one in (handle, other)] == [alone[2].token_ids, alone[4].token_ids]


def test_prompts_that_hold_the_models_own_padding_are_answered_as_alone(engine: Engine, version: Path) -> None:
    asked = [[0] * 6, [11, 0], [0, 12, 13, 14, 0, 0], prompts()[0]]
    runtime = ort.load(version, 2)
    wanted = [runtime.generate([prompt], MAX_TOKENS)[0].token_ids for prompt in asked]
    handles = [engine.submit(prompt, MAX_TOKENS, Sampling()) for prompt in asked]
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    while len(ends) < len(asked):
        collect(engine.step(), answers, ends)
    assert [tuple(answers.get(handle, ())) for handle in handles] == wanted


def test_a_seed_draws_the_same_beside_others_and_the_likeliest_alone_is_greedy(
    version: Path, alone: list[Generation]
) -> None:
    engine = ort.engine(version, 2, BATCH)

    def drawn(indices: list[int], sampling: list[Sampling]) -> list[list[int]]:
        asked = zip(indices, sampling, strict=True)
        handles = [engine.submit(prompts()[index], MAX_TOKENS, one) for index, one in asked]
        answers: dict[int, list[int]] = {}
        ends: dict[int, str] = {}
        while len(ends) < len(handles):
            collect(engine.step(), answers, ends)
        return [answers.get(handle, []) for handle in handles]

    seeded = [Sampling(1.0, 0.95, seed, top_k=50) for seed in (1, 2, 3)]
    together = drawn([2, 4, 5, 7], [*seeded, Sampling(2.0, top_k=1, seed=4)])
    assert tuple(together[3]) == alone[7].token_ids
    assert drawn([5], seeded[2:]) == together[2:3]
    assert drawn([4, 2], seeded[1::-1]) == together[1::-1]
    assert drawn([2], seeded[1:2]) != together[:1]


def test_onnxruntime_genai_refuses_a_seed_where_it_has_none_and_goes_on(
    version: Path, alone: list[Generation]
) -> None:
    engine = GenaiEngine(version, 2, BATCH)
    with pytest.raises(RequestError, match="takes no seed"):
        engine.submit(prompts()[2], MAX_TOKENS, Sampling(1.0, seed=1))
    handle = engine.submit(prompts()[4], MAX_TOKENS, Sampling(1.5, top_k=1))
    answers: dict[int, list[int]] = {}
    ends: dict[int, str] = {}
    while not ends:
        collect(engine.step(), answers, ends)
    assert tuple(answers[handle]) == alone[4].token_ids
