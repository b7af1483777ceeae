"""Engines executed on a GPU, held to the contract of every runtime. `make test` leaves them out and says so.

    python -m pytest -m gpu tests/contract/test_tensorrt_on_gpu.py

Needs a card that the TensorRT at hand runs on, and torch with CUDA (docs/tensorrt.md). It fails, never skips, where
there is none. Logits are those of fp16 and INT8, so tokens may part from torch's float32 where two are close.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from core import plugins
from core.errors import RuntimeFault
from host import gpu
from models import manifest
from models.params import Recipe
from quantizers import Context
from runtimes import Runtime, tensorrt
from trt import library, make
from trt.params import CompileParams, TargetParams

pytestmark = pytest.mark.gpu
PARAMS = CompileParams(batches=[4, 16], prefill_tokens=64, context_tokens=128)
TOLERANCE = {"trt_fp16": 1e-2, "trt_int8": 0.3}  # largest difference of a logit, as a share of the largest logit
SAME_TOKENS = {"trt_fp16": 0.9, "trt_int8": 0.4}  # share of greedy tokens before the first difference


@pytest.fixture(scope="module", params=["trt_fp16", "trt_int8"])
def quantizer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def runtime(quantizer: str, workshop: Context, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """The engine for the card of this machine, compiled here and loaded from its version folder."""
    assert (why := tensorrt.available()) is None, f"engines cannot be executed on this machine: {why}"
    card = gpu.card()
    assert card is not None
    variant, recipe = tmp_path_factory.mktemp(quantizer), Recipe(quantizer=quantizer, runtime="tensorrt")
    plugin = plugins.load("quantizers", quantizer)
    facts = plugin.quantize(workshop, plugin.Options(), variant)
    manifest.write(variant, variant=quantizer, recipe=recipe, model_folder=workshop.model_folder, facts=facts)
    source = make.source(quantizer, variant, recipe, workshop.model_folder)
    target = TargetParams(compute_capability=card.capability, memory_mib=card.memory_mib)
    folder = tmp_path_factory.mktemp("engine") / "here"
    made = make.engine(source, "here", target, PARAMS, library.installed(), card, folder, folder.parent / "timings")
    assert made.status == "compiled", made.why
    loaded = tensorrt.load(folder, threads=1)
    yield loaded
    loaded.close()
    loaded.close()  # the contract: twice is fine


@pytest.fixture(scope="module")
def reference(workshop: Context) -> Iterator[Runtime]:
    loaded: Runtime = plugins.load("runtimes", "torch").load(workshop.model_folder, 2)
    yield loaded
    loaded.close()


def _prompts(count: int) -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(7, 290, length).tolist() for length in rng.integers(1, 20, count)]


def test_logits_are_those_of_torch_within_the_precision(quantizer: str, runtime: Runtime, reference: Runtime) -> None:
    prompts = _prompts(20)
    for ours, theirs in zip(runtime.logits(prompts), reference.logits(prompts), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= TOLERANCE[quantizer] * np.abs(theirs).max()


@pytest.mark.parametrize("count", [1, 4, 5, 32])
def test_greedy_tokens_are_those_of_torch_but_for_close_calls(
    quantizer: str, runtime: Runtime, reference: Runtime, count: int
) -> None:
    prompts = _prompts(count)
    same = []
    for ours, theirs in zip(
        runtime.generate(prompts, 24, ignore_eos=True), reference.generate(prompts, 24, ignore_eos=True), strict=True
    ):
        pairs = list(zip(ours.token_ids, theirs.token_ids, strict=True))
        same.append(next((i for i, (our, their) in enumerate(pairs) if our != their), len(pairs)) / len(pairs))
    assert np.mean(same) >= SAME_TOKENS[quantizer]


def test_a_batch_gives_what_each_prompt_gives_alone(runtime: Runtime) -> None:
    prompts = _prompts(4)
    alone = [runtime.generate([prompt], 24)[0].token_ids for prompt in prompts]
    together = [answer.token_ids for answer in runtime.generate(prompts, 24)]
    assert np.mean([one == other for one, other in zip(alone, together, strict=True)]) >= 0.75


def test_limits_steps_and_refusals(runtime: Runtime) -> None:
    steps: list[int] = []
    answers = runtime.generate(_prompts(3), 7, ignore_eos=True, on_step=steps.append)
    assert [len(answer.token_ids) for answer in answers] == [7, 7, 7]
    assert steps == list(range(7))
    with pytest.raises(RuntimeFault, match="exceeds every profile"):
        runtime.generate([[9] * 65], 1)
