from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure import baseline
from core.errors import ConfigError
from runtimes import torch as torch_runtime

PROMPTS = [[20, 21, 22, 23], [30, 31]]


def test_it_answers_as_the_reference_runtime_does(tiny_qwen2: Path) -> None:
    steps: list[int] = []
    ours = baseline.load(tiny_qwen2, 2)
    reference = torch_runtime.load(tiny_qwen2, 2)
    assert ours.generate(PROMPTS, 12, on_step=steps.append) == reference.generate(PROMPTS, 12)
    assert steps == list(range(len(steps)))
    for left, right in zip(ours.logits(PROMPTS), reference.logits(PROMPTS), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)
    ours.close()
    reference.close()


def test_ignore_eos_gives_every_token_and_every_step(tiny_qwen2: Path) -> None:
    runtime = baseline.load(tiny_qwen2, 2, "bfloat16")
    first = runtime.generate(PROMPTS, 3, ignore_eos=True)
    runtime._eos = frozenset([first[0].token_ids[1]])  # a token that surely comes
    steps: list[int] = []
    answers = runtime.generate(PROMPTS, 9, ignore_eos=True, on_step=steps.append)
    assert [len(answer.token_ids) for answer in answers] == [9, 9]
    assert steps == list(range(9))
    stopped = runtime.generate(PROMPTS, 9)[0]
    assert (stopped.finished, len(stopped.token_ids)) == (True, 1)


def test_an_unknown_dtype_is_refused(tiny_qwen2: Path) -> None:
    with pytest.raises(ConfigError, match="int3"):
        baseline.load(tiny_qwen2, 2, "int3")
