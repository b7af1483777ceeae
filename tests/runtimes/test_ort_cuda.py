"""The runtime `ort_cuda` where it can be tested without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import RuntimeFault
from export import fused
from runtimes import Sampling, echo, ort, ort_cuda


def test_without_the_cuda_wheels_it_says_what_to_install() -> None:
    assert ort_cuda.available() == (
        "onnxruntime has no CUDA provider here: `make setup-gpu` on a machine with an NVIDIA GPU"
    )


def test_an_engine_seen_as_a_runtime_answers_a_batch_in_order(tiny_qwen2: Path, tmp_path: Path) -> None:
    echo.write(tmp_path / "v", tiny_qwen2, "echo")
    prompts = [[9, 8, 7], [30, 31], [20, 21, 22, 23]]
    engine = echo.engine(tmp_path / "v", 1, 2)  # fewer places than prompts
    runtime = ort_cuda.EngineRuntime(engine)
    steps: list[int] = []
    answers = runtime.generate(prompts, 5, ignore_eos=True, on_step=steps.append)
    expected = echo.load(tmp_path / "v", 1).generate(prompts, 5, ignore_eos=True)
    assert answers == expected
    assert steps == list(range(5))
    with pytest.raises(RuntimeFault, match="gives tokens and no logits"):
        runtime.logits(prompts)
    runtime.close()


def test_an_engine_seen_as_a_runtime_draws_what_the_runtime_of_the_same_graph_draws(
    tiny_qwen2: Path, tmp_path: Path
) -> None:
    fused.export(tiny_qwen2, tmp_path / "v", 2)
    prompts = [[9, 8, 7], [30, 31], [20, 21, 22, 23], [9, 8, 7]]
    sampling = [Sampling(0.8, 0.95, seed, top_k=40) for seed in range(4)]
    runtime = ort_cuda.EngineRuntime(ort.engine(tmp_path / "v", 2, 2))
    answers = runtime.generate(prompts, 12, sampling=sampling)
    assert answers == ort.load(tmp_path / "v", 2).generate(prompts, 12, sampling=sampling)
    assert answers[0] != answers[3]
    whole = runtime.generate(prompts, 12, sampling=sampling, ignore_eos=True)
    assert [len(answer.token_ids) for answer in whole] == [12] * 4
