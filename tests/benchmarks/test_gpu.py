"""The GPU benchmark without a GPU: its figures, how calls merge, what it says about targets and about failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import gpu_drift
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import card, model
from benchmarks.gpu import sides as gpu_sides
from benchmarks.gpu.records import GpuDrift, GpuProfile, GpuRow, GpuRun, GpuSide
from benchmarks.gpu.targets import merged, row, targets
from benchmarks.measure.side import OutOfMemory, Sample, Spec
from core.errors import DataError, ResourceError, RuntimeFault
from host import description
from models import vllm_settings
from pipelines import params

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


def _sample(requests: int, first_s: float, step_s: float, tokens: int = 5) -> Sample:
    stamps = tuple(first_s + step_s * index for index in range(tokens))
    return Sample(requests, 128 * requests, stamps, stamps[-1])


def _side(name: str, wave: str) -> GpuSide:
    return GpuSide(
        name=name, module="m", options={}, wave=wave, artifact_mib=1, read_bytes=1, load_ms=1, gpu_memory_mib=1,
        peak_rss_mib=1,
    )  # fmt: skip


def _run(*rates: tuple[str, int, float], wave: str = "w") -> GpuRun:
    """A run whose sides decode at the given rates in tokens per second: (side, requests, rate)."""
    return GpuRun(
        commands=["c"], model="m", machine=description.describe(1), bandwidth_bytes_s=1e12, copy_bytes_s=None,
        sides=[_side(name, wave) for name in dict.fromkeys(name for name, _, _ in rates)],
        rows=[row(name, n, [_sample(n, 0.01, n / rate)], [], 1e-3) for name, n, rate in rates], not_measured={},
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


def _rate(run: GpuRun, name: str) -> float:
    found = run.row(name, 1)
    assert found is not None
    return found.decode_tok_s.median


def test_a_later_call_replaces_a_sides_figures_and_keeps_the_others() -> None:
    first = _run(("hf-bf16-dynamic", 1, 30.0), ("vllm-bf16", 1, 300.0))
    second = _run(("vllm-bf16", 1, 500.0)).model_copy(update={"not_measured": {"vllm-fp8": "no"}})
    both = merged(first, second)
    assert _rate(both, "hf-bf16-dynamic") == pytest.approx(30.0)
    assert _rate(both, "vllm-bf16") == pytest.approx(500.0)
    assert (len(both.sides), both.not_measured) == (2, {"vllm-fp8": "no"})
    assert merged(both, _run(("vllm-fp8", 1, 9.0))).not_measured == {}


def test_targets_say_what_was_met_what_was_not_and_what_was_not_measured() -> None:
    run = _run(
        ("hf-bf16-dynamic", 1, 20.0), ("hf-fp16-static", 1, 200.0), ("hf-fp32-static", 1, 100.0),
        ("vllm-bf16", 1, 300.0), ("vllm-bf16", 8, 2400.0), ("vllm-bf16", 64, 1000.0), ("vllm-fp8", 64, 1200.0),
    )  # fmt: skip
    found = {goal.what: goal for goal in targets(run)}
    assert found["times hf-bf16-dynamic, 1 request"].value == pytest.approx(15.0)
    assert not found["times hf-bf16-dynamic, 1 request"].met
    assert found["times hf-bf16-static, 1 request"].value is None
    assert not found["times hf-bf16-static, 1 request"].met
    assert found["8 requests over 1, same variant"].met
    assert found["quantized over bf16 on vLLM, 64 requests"].value == pytest.approx(1.2)
    assert found["latency that fp16 saves against fp32, 1 request"].value == pytest.approx(0.5)


def test_a_decode_step_reads_all_weights_but_the_embedding(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": torch.zeros(100, 8), "lm_head.weight": torch.zeros(100, 8)}
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    assert card.read_bytes(tmp_path, 100, 8, {}) == 1600
    assert card.read_bytes(tmp_path, 100, 8, {"dtype": "float32"}) == 3200
    (tmp_path / "model.onnx.data").write_bytes(bytes(5000))
    assert card.read_bytes(tmp_path, 100, 8, {}) == 5000 - 1600


def test_a_cards_bandwidth_is_its_own_and_not_that_of_a_card_with_a_like_name() -> None:
    known = {"NVIDIA H200, driver 580": 4.8e12, "NVIDIA A100 80GB PCIe, driver 580": 1.935e12, "Tesla T4": 0.32e12}
    known |= {"NVIDIA A100-SXM4-40GB": 1.555e12, "NVIDIA A10G": 0.6e12, "NVIDIA L4, driver 580": 0.3e12}
    assert {name: card.bandwidth_bytes_s(name) for name in known} == known
    for name in ("NVIDIA L40, driver 580", "NVIDIA GH200 480GB", "NVIDIA RTX A1000", "NVIDIA T400 4GB"):
        assert card.bandwidth_bytes_s(name) is None


def test_sides_that_took_turns_pair_by_round_and_others_do_not() -> None:
    def rows(name: str, steps_s: list[float]) -> GpuRow:
        return row(name, 1, [_sample(1, 0.01, step_s) for step_s in steps_s], [], None)

    run = _run(("hf-bf16-static", 1, 1.0), ("vllm-bf16", 1, 1.0))
    slow, quick = rows("hf-bf16-static", [0.04, 0.08, 0.04]), rows("vllm-bf16", [0.01, 0.02, 0.02])
    run = run.model_copy(update={"rows": [slow, quick]})
    [paired] = [goal for goal in targets(run) if goal.what == "times hf-bf16-static, 1 request"]
    assert (paired.value, paired.low, paired.high) == pytest.approx((4.0, 2.0, 4.0))
    apart = run.model_copy(update={"sides": [_side("hf-bf16-static", "w"), _side("vllm-bf16", "another")]})
    [medians] = [goal for goal in targets(apart) if goal.what == "times hf-bf16-static, 1 request"]
    assert medians.value == pytest.approx(2.0)
    assert medians.low is None
    assert "2.00 (vllm-bf16), wanted 2" in gpu.table(merged(None, apart))


def test_rounds_of_another_number_of_requests_are_minutes_apart_and_do_not_pair() -> None:
    run = _run(("vllm-bf16", 1, 1.0))
    one = row("vllm-bf16", 1, [_sample(1, 0.01, step_s) for step_s in (0.01, 0.02, 0.02)], [], None)
    eight = row("vllm-bf16", 8, [_sample(8, 0.01, step_s) for step_s in (0.02, 0.01, 0.02)], [], None)
    run = run.model_copy(update={"rows": [one, eight]})
    [goal] = [goal for goal in targets(run) if goal.what == "8 requests over 1, same variant"]
    assert goal.value == pytest.approx(8.0)  # the medians are 50 and 400 tokens per second
    assert (goal.low, goal.high) == (None, None)


class FakeSide:
    """Generates until `most` requests at once, then fails with `error`."""

    load_ms, peak_rss_mib, pid = 1.0, 1.0, 1

    def __init__(self, name: str, most: int, error: Exception | None = None) -> None:
        self.spec = Spec(name, "m", "f", 1, {"module": "m", "profile": ""})
        self._most, self._error = most, error
        self.asked: list[tuple[int, int, int]] = []  # requests, tokens, first token of the first prompt
        self.closed = False

    def generate(self, prompts: list[list[int]], tokens: int) -> Sample:
        assert not self.closed
        self.asked.append((len(prompts), tokens, prompts[0][0]))
        if len(prompts) > self._most and self._error:
            raise self._error
        return _sample(len(prompts), 0.01, 0.001, tokens)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OutOfMemory("cuda"), "out of GPU memory at 32 requests: figures stand up to 8; lower engine.kv_cache_mib"),
        (RuntimeFault("a kernel failed"), "failed at 32 requests: figures stand up to 8. a kernel failed"),
    ],
)
def test_a_side_that_fails_keeps_its_figures_and_the_others_go_on(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "MODEL", dataclasses.replace(model.MODEL, folder=tmp_path))
    (tmp_path / "variants/vllm-bf16").mkdir(parents=True)
    poor, good = FakeSide("vllm-bf16", 8, error), FakeSide("vllm-fp8", 99)
    sides: dict[str, Any] = {"vllm-bf16": poor, "vllm-fp8": good}
    seen = gpu_sides.measure(sides, [1, 8, 32, 64], 3, lambda pid: 7.0)
    assert list(seen["vllm-bf16"].samples) == [1, 8]
    assert list(seen["vllm-fp8"].samples) == [1, 8, 32, 64]
    assert (poor.closed, good.closed) == (True, False)
    run = merged(None, gpu.add(_run(), sides["vllm-bf16"], seen["vllm-bf16"], "w"))
    assert [one.requests for one in run.rows] == [1, 8]
    assert told in run.sides[0].notes[0]
    assert run.sides[0].gpu_memory_mib == 7.0
    assert told[:20] in gpu.table(run)


def test_a_side_that_fails_takes_no_others_profile_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Profiled(FakeSide):
        def finish(self) -> None:
            profile.save(places[0] / f"{self.spec.name}.json")

    @contextmanager
    def loaded(names: list[str], threads: int, profiles: Path) -> Iterator[dict[str, FakeSide]]:
        places.append(profiles)
        yield {"vllm-bf16": Profiled("vllm-bf16", 0, OutOfMemory("cuda")), "vllm-fp8": Profiled("vllm-fp8", 99)}

    places: list[Path] = []
    profile = GpuProfile(tokens=32, wall_ms=9.0, gpu_busy_ms=5.0, kernels_launched=7, kernels=[])
    monkeypatch.setattr(gpu, "Side", FakeSide)
    monkeypatch.setattr(gpu, "loaded", loaded)
    run = gpu._profile(_run(("vllm-bf16", 1, 1.0), ("vllm-fp8", 1, 1.0)), ["vllm-bf16", "vllm-fp8"], 1)
    assert [side.profile for side in run.sides] == [None, profile]
    assert "vllm-bf16: no profile: cuda" in capsys.readouterr().err


def test_sides_answer_the_same_fresh_prompts_in_turn() -> None:
    one, other = FakeSide("vllm-bf16", 99), FakeSide("hf-bf16-static", 99)
    sides: dict[str, Any] = {"vllm-bf16": one, "hf-bf16-static": other}
    seen = gpu_sides.measure(sides, [1, 32], 3, lambda pid: None)
    assert one.asked[: len(other.asked)] == other.asked  # the static cache is not asked for 32
    assert {count for count, _, _ in other.asked} == {1}
    assert len({first for _, _, first in other.asked}) > len(other.asked) // 2
    assert len(seen["hf-bf16-static"].samples[1]) == 3
    assert len(seen["hf-bf16-static"].first[1]) == gpu_sides.FIRST_TOKENS
    assert seen["vllm-bf16"].memory_mib is None


def test_a_drift_verdict_is_kept_only_where_it_was_measured() -> None:
    kept = GpuDrift.read(RESULTS / "gpu" / "gpu-h200-drift.json")
    again = kept.evaluations[0].model_copy(update={"items": 7})
    both = gpu_drift.merged(kept, kept.model_copy(update={"evaluations": [again], "commands": ["c"]}))
    assert sorted(one.variant for one in both.evaluations) == sorted(one.variant for one in kept.evaluations)
    assert both.evaluations[-1].items == 7
    with pytest.raises(DataError, match=r"was not measured here \(no card\): there is no verdict to keep"):
        gpu_drift.measured(again.model_copy(update={"status": "not_measured_here", "why_not_measured": "no card"}))


def test_without_a_gpu_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here = description.describe(1).model_copy(update={"accelerator": None})
    monkeypatch.setattr(description, "describe", lambda threads: here)
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(ResourceError, match="no NVIDIA GPU on this machine"):
        gpu.main()


def test_the_kept_results_are_readable_and_about_shipped_recipes() -> None:
    run = GpuRun.read(RESULTS / "gpu" / "gpu-h200.json")
    assert {side.name for side in run.sides} == set(gpu_sides.SIDES)
    assert run.targets == targets(run), "the record's own rows give its targets"
    assert len({side.wave for side in run.sides}) == 1, "one run, every side in turn"
    shipped = params.load(RESULTS.parents[1] / "params.yaml").recipes
    for name, recipe in shipped.items():
        if recipe.runtime == "vllm":
            assert vllm_settings.EngineSettings.model_validate(recipe.options["engine"])
            assert f"vllm-{name}" in model.RECIPES
