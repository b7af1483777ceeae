"""The GPU benchmark without a GPU: its figures, how calls merge, what it says about targets and about failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bench import machine
from bench.side import OutOfMemory, Sample, Spec
from benchmarks import gpu, gpu_card, gpu_model
from benchmarks.gpu_record import GpuRun, GpuSide, merged, row, targets
from core import params
from core.errors import ResourceError, RuntimeFault
from models.runtimes import _vllm_settings

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


def _sample(requests: int, first_s: float, step_s: float, tokens: int = 5) -> Sample:
    stamps = tuple(first_s + step_s * index for index in range(tokens))
    return Sample(requests, 128 * requests, stamps, stamps[-1])


def _run(*rates: tuple[str, int, float]) -> GpuRun:
    """A run whose sides decode at the given rates in tokens per second: (side, requests, rate)."""
    rows = [row(name, n, [_sample(n, 0.01, n / rate)], [], 1e-3) for name, n, rate in rates]
    sides = [
        GpuSide(
            name=name,
            module="m",
            options={},
            artifact_mib=1,
            read_bytes=1,
            load_ms=1,
            gpu_memory_mib=1,
            peak_rss_mib=1,
        )
        for name in dict.fromkeys(name for name, _, _ in rates)
    ]
    return GpuRun(
        commands=["c"], model="m", machine=machine.describe(1), bandwidth_bytes_s=1e12, copy_bytes_s=None,
        sides=sides, rows=rows, not_measured={}, notes=[],
    )  # fmt: skip


def test_an_answer_is_good_only_when_its_first_token_came_in_time() -> None:
    found = row("a", 8, [_sample(8, 0.1, 0.01), _sample(8, 0.6, 0.01), _sample(8, 0.1, 0.01)], [], None)
    assert found.goodput_requests_s.low == 0.0
    assert found.goodput_requests_s.high == pytest.approx(8 / 0.14)
    assert found.decode_tok_s.median == pytest.approx(8 * 4 / 0.04)
    assert found.bandwidth_share is None


def test_share_of_the_limit_is_of_one_request() -> None:
    assert row("a", 1, [_sample(1, 0.1, 0.002)], [], 0.001).bandwidth_share == pytest.approx(0.5)
    assert row("a", 8, [_sample(8, 0.1, 0.002)], [], 0.001).bandwidth_share is None


def test_a_later_call_replaces_a_sides_figures_and_keeps_the_others() -> None:
    first = _run(("hf-bf16-dynamic", 1, 30.0), ("vllm-bf16", 1, 300.0))
    second = _run(("vllm-bf16", 1, 500.0)).model_copy(update={"not_measured": {"vllm-fp8": "no"}})
    both = merged(first, second)
    assert both.rate("hf-bf16-dynamic", 1) == pytest.approx(30.0)
    assert both.rate("vllm-bf16", 1) == pytest.approx(500.0)
    assert (len(both.sides), both.not_measured) == (2, {"vllm-fp8": "no"})
    assert merged(both, _run(("vllm-fp8", 1, 9.0))).not_measured == {}


def test_targets_say_what_was_met_what_was_not_and_what_was_not_measured() -> None:
    run = _run(
        ("hf-bf16-dynamic", 1, 20.0), ("hf-fp16-static", 1, 200.0), ("hf-fp32-static", 1, 100.0),
        ("vllm-bf16", 1, 300.0), ("vllm-bf16", 8, 2400.0), ("vllm-bf16", 64, 1000.0), ("vllm-fp8", 64, 1200.0),
    )  # fmt: skip
    found = {goal.what: goal for goal in targets(run)}
    assert found["times hf-bf16-dynamic, 1 requests"].value == pytest.approx(15.0)
    assert not found["times hf-bf16-dynamic, 1 requests"].met
    assert found["times hf-bf16-static, 1 requests"].value is None
    assert not found["times hf-bf16-static, 1 requests"].met
    assert found["8 requests over 1, same variant"].met
    assert found["quantized over bf16 on vLLM, 64 requests"].value == pytest.approx(1.2)
    assert found["latency that fp16 saves against fp32"].value == pytest.approx(0.5)


def test_a_decode_step_reads_all_weights_but_the_embedding(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": torch.zeros(100, 8), "lm_head.weight": torch.zeros(100, 8)}
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    assert gpu_card.read_bytes(tmp_path, 100, 8, {}) == 1600
    assert gpu_card.read_bytes(tmp_path, 100, 8, {"dtype": "float32"}) == 3200
    (tmp_path / "model.onnx.data").write_bytes(bytes(5000))
    assert gpu_card.read_bytes(tmp_path, 100, 8, {}) == 5000 - 1600


class FakeSide:
    """Generates until `most` requests at once, then fails with `error`."""

    load_ms, peak_rss_mib, pid = 1.0, 1.0, 1

    def __init__(self, most: int, error: Exception) -> None:
        self.spec = Spec("vllm-bf16", "m", "f", 1, {"module": "m", "profile": ""})
        self._most, self._error = most, error
        self.finished = False

    def generate(self, prompts: list[list[int]], tokens: int) -> Sample:
        if len(prompts) > self._most:
            raise self._error
        return _sample(len(prompts), 0.01, 0.001, tokens)

    def close(self) -> None:
        return

    def finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OutOfMemory("cuda"), "out of GPU memory at 32 requests: figures stand up to 8; lower engine.kv_cache_mib"),
        (RuntimeFault("a kernel failed"), "failed at 32 requests: figures stand up to 8. a kernel failed"),
    ],
)
def test_a_failure_keeps_what_was_measured_and_says_what_to_lower(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu_model, "folder", lambda name: tmp_path)
    monkeypatch.setattr(gpu_card, "memory_mib", lambda pid: 7.0)
    side: Any = FakeSide(8, error)
    run = gpu._add(_run(), "vllm-bf16", side, [1, 8, 32, 64], rounds=3)
    assert [one.requests for one in run.rows] == [1, 8]
    assert told in run.notes[0]
    assert (run.sides[0].gpu_memory_mib, side.finished) == (7.0, True)
    assert told[:20] in gpu.table(run)


def test_a_side_that_cannot_run_is_listed_with_its_reason() -> None:
    run = gpu._add(_run(), "vllm-fp8", "vLLM is not installed", [1], rounds=3)
    assert run.not_measured == {"vllm-fp8": "vLLM is not installed"}
    assert "vllm-fp8: not measured: vLLM is not installed" in gpu.table(run)


def test_without_a_gpu_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.describe(1).model_copy(update={"accelerator": None})
    monkeypatch.setattr(machine, "describe", lambda threads: here)
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(ResourceError, match="no NVIDIA GPU on this machine"):
        gpu.main()


def test_the_kept_results_are_readable_and_about_shipped_recipes() -> None:
    run = GpuRun.read(RESULTS / "gpu" / "gpu-h200.json")
    assert {side.name for side in run.sides} == set(gpu.SIDES)
    shipped = params.load(RESULTS.parents[1] / "params.yaml").recipes
    for name, recipe in shipped.items():
        if recipe.runtime == "vllm":
            assert _vllm_settings.EngineSettings.model_validate(recipe.options["engine"])
            assert f"vllm-{name}" in gpu_model.RECIPES
