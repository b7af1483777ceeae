"""The session of the tensorrt runtime on real buffers: what is bound, how past and present change places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import RuntimeFault
from export import fused
from models import families
from quantizers import Context, trt_fp16
from runtimes import tensorrt
from runtimes.tensorrt import EngineSession
from tests.parts.ort_session import OrtSession
from tests.parts.trt_library import on_onnxruntime
from trt import profiles
from trt.params import CompileParams

KNOWN = profiles.plan(CompileParams(batches=[4], prefill_tokens=32, context_tokens=64))
PROMPTS = [[9, 8, 7, 20, 31], [11], [40, 41, 42]]


@pytest.fixture(scope="module")
def graph(workshop: Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half")
    trt_fp16.quantize(workshop, trt_fp16.Options(), folder)
    return folder / fused.GRAPH


def test_bound_buffers_give_what_the_graph_gives(graph: Path, workshop: Context) -> None:
    """24 steps through the same two buffers; then other batches through what the first one left in them."""
    architecture = families.read(workshop.model_folder)
    library, _ = on_onnxruntime()
    bound = tensorrt.TensorRTRuntime(
        EngineSession(library, str(graph).encode(), architecture, KNOWN, device="cpu"), KNOWN, architecture, "1"
    )
    plain = tensorrt.TensorRTRuntime(OrtSession(graph, architecture, KNOWN), KNOWN, architecture, "1")
    for prompts in (PROMPTS[:2], PROMPTS[1:], PROMPTS, PROMPTS[:1]):
        assert bound.generate(prompts, 24, ignore_eos=True) == plain.generate(prompts, 24, ignore_eos=True)
        for ours, theirs in zip(bound.logits(prompts), plain.logits(prompts), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    bound.close()
    bound.close()


def test_an_engine_that_does_not_load_or_run_is_told(graph: Path, workshop: Context) -> None:
    architecture = families.read(workshop.model_folder)
    library, _ = on_onnxruntime(loads=False)
    with pytest.raises(RuntimeFault, match="compiled for another GPU or version"):
        EngineSession(library, b"", architecture, KNOWN, device="cpu")
    library, contexts = on_onnxruntime()
    session = EngineSession(library, str(graph).encode(), architecture, KNOWN, device="cpu")
    contexts[0].refuse = True
    with pytest.raises(RuntimeFault, match="did not execute"):
        tensorrt.TensorRTRuntime(session, KNOWN, architecture, "1").generate([[9]], 1)


def test_a_batch_that_the_card_has_no_memory_for_says_what_to_lower_and_a_smaller_one_goes_on(
    graph: Path, workshop: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = families.read(workshop.model_folder)
    library, _ = on_onnxruntime()
    session = EngineSession(library, str(graph).encode(), architecture, KNOWN, device="cpu")
    runtime = tensorrt.TensorRTRuntime(session, KNOWN, architecture, "1")
    room, empty = 2 * architecture.kv_heads * 64 * architecture.head_dim, torch.empty

    def limited(elements: int, **options: Any) -> torch.Tensor:
        if elements > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return empty(elements, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", limited)
        with pytest.raises(RuntimeFault, match=r"batch 3 .*out of memory.*: lower the batch") as refused:
            runtime.generate([[9], [8], [7]], 4)
        assert tensorrt.TRAITS.is_out_of_memory(refused.value), "the benchmark then halves the batch"
        assert len(runtime.generate([[9], [8]], 4, ignore_eos=True)) == 2
