"""The runtime `ort_cuda` where it can be tested without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import RuntimeFault
from runtimes import echo, ort_cuda


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
