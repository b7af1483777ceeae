"""The tensorrt runtime against the contract of every runtime, with onnxruntime in place of the engine's execution.

What executes an engine is held to it on a GPU: test_tensorrt_on_gpu.py, not run here (`make test-gpu`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import RuntimeFault
from export import fused, standard
from host import gpu
from models import families
from runtimes import tensorrt
from runtimes.tensorrt import Batch
from tests.contract.test_runtimes import (  # the same tests, on this module's `case`
    PROMPT_LENGTHS,
    THREADS,
    Case,
    fourth_token,
    test_a_batch_gives_what_each_prompt_gives_alone_in_order,  # noqa: F401
    test_a_finished_batch_stops_early,  # noqa: F401
    test_a_large_batch_gives_the_same,  # noqa: F401
    test_a_seed_draws_the_same_alone_and_in_any_batch,  # noqa: F401
    test_drawing_with_ignore_eos_gives_exactly_max_tokens_and_each_prompt_needs_its_sampling,  # noqa: F401
    test_each_prompt_alone_gives_the_tokens_of_transformers,  # noqa: F401
    test_first_tokens_come_as_often_as_they_should,  # noqa: F401
    test_ignore_eos_gives_exactly_max_tokens,  # noqa: F401
    test_logits_are_those_of_transformers,  # noqa: F401
    test_max_tokens_is_a_limit,  # noqa: F401
    test_on_step_is_called_once_for_each_token_of_the_batch,  # noqa: F401
    test_the_likeliest_token_alone_and_temperature_zero_are_greedy,  # noqa: F401
    with_ends,
)
from tests.parts.ort_session import OrtSession
from trt import library, profiles
from trt.params import CompileParams

PARAMS = CompileParams(batches=[4, 16], prefill_tokens=32, context_tokens=64)


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    import torch
    from transformers import AutoModelForCausalLM

    original: Path = request.getfixturevalue(f"tiny_{request.param}")
    rng = np.random.default_rng(5)
    model = AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32)
    prompts = [rng.integers(7, model.config.vocab_size, length).tolist() for length in PROMPT_LENGTHS]
    ends = {2, fourth_token(model, prompts[0])}
    folder = with_ends(original, tmp_path_factory.mktemp("model") / request.param, ends)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    export = tmp_path_factory.mktemp("export")
    fused.export(folder, export / "fused", THREADS)
    standard.export(folder, export / "standard", THREADS)
    architecture, known = families.read(folder), profiles.plan(PARAMS)
    session = OrtSession(export / "standard" / fused.GRAPH, architecture, known)
    return Case(tensorrt.TensorRTRuntime(session, known, architecture, "1"), model, prompts, ends)


def _session(case: Case) -> OrtSession:
    assert isinstance(case.runtime, tensorrt.TensorRTRuntime)
    session = case.runtime._session
    assert isinstance(session, OrtSession)
    return session


def test_the_profile_fits_the_batch_and_the_phase(case: Case) -> None:
    session = _session(case)
    for count, wanted in ((1, [0, 1, 1]), (4, [0, 1, 1]), (5, [2, 3, 3])):
        session.steps.clear()
        case.runtime.generate([case.prompts[0]] * count, 3, ignore_eos=True)
        assert session.steps == wanted


@pytest.mark.parametrize(
    ("count", "length", "max_tokens", "told"),
    [(1, 33, 1, "33 new tokens over 0 cached"), (1, 32, 40, "1 new tokens over 70 cached")],
)
def test_a_request_that_exceeds_every_profile_is_refused_before_the_first_step(
    case: Case, count: int, length: int, max_tokens: int, told: str
) -> None:
    session = _session(case)
    session.steps.clear()
    with pytest.raises(RuntimeFault, match=told) as refused:
        case.runtime.generate([[9] * length] * count, max_tokens)
    assert "prefill: batch 1-4, 1-32 new tokens over 0 cached" in str(refused.value)
    assert "raise compile.batches, compile.prefill_tokens or compile.context_tokens" in str(refused.value)
    assert session.steps == []


def test_a_timed_batch_is_never_split(case: Case) -> None:
    with pytest.raises(RuntimeFault, match="batch 17 with 9 new tokens"):
        case.runtime.generate([case.prompts[0]] * 17, 2, on_step=lambda step: None)


def test_the_whole_context_can_be_used(case: Case) -> None:
    [answer] = case.runtime.generate([[9] * 32], 33, ignore_eos=True)
    assert len(answer.token_ids) == 33


def test_padding_is_hidden_and_positions_skip_it() -> None:
    batch = Batch([[5, 6, 7], [8]])
    feed = batch.prefill()
    assert feed.input_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert feed.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    batch.decode([1, 2])
    feed = batch.decode([3, 4])
    assert feed.input_ids.tolist() == [[3], [4]]
    assert feed.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]]
    assert feed.position_ids.tolist() == [[4], [2]]
    assert feed.past == 4


def test_a_machine_that_cannot_run_engines_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for card, reason in (
        (None, "no NVIDIA GPU on this machine"),
        (gpu.Card("NVIDIA H200", "9.0", 143771), r"does not run on compute capability 9.0 \(NVIDIA H200\)"),
    ):
        monkeypatch.setattr(gpu, "card", lambda card=card: card)
        with pytest.raises(RuntimeFault, match=reason):
            tensorrt.load(tmp_path, THREADS)
    monkeypatch.setattr(library, "installed", list)
    assert tensorrt.available() == library.NONE_INSTALLED
