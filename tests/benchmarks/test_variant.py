from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.measure import variant
from benchmarks.measure.side import Spec
from benchmarks.measure.variant import Kept
from benchmarks.params import BenchmarkParams
from benchmarks.records import Benchmark
from core.errors import RuntimeFault
from data import items
from data.records import Item
from host import description
from models import manifest
from pipelines import params
from stages import benchmark
from tests.benchmarks import fake

ROOT = Path(__file__).parents[2]
PROMPTS = [[10 + index, 11, 12] for index in range(8)]


def settings(*batches: int) -> BenchmarkParams:
    return BenchmarkParams(batches=list(batches), output_tokens=6, rounds=3)


def test_a_batch_that_does_not_fit_is_halved_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Kept("digest", description.describe(1))
    done, notes = variant.workloads(fake.spec("small-memory"), fake.spec(), kept, PROMPTS, settings(1, 16))
    assert [item.workload.batch for item in done if item.workload] == [1, 4]
    assert notes == ["batch 16: out of memory, lowered to 4"]
    assert len(done[1].load_ms) == 2  # both halvings needed fresh processes

    kept = Kept("another digest", description.describe(1))
    done, notes = variant.workloads(fake.spec("small-memory"), fake.spec(), kept, PROMPTS, settings(1, 4, 8))
    assert [item.workload is None for item in done] == [False, False, True]
    assert notes == ["batch 8: out of memory, lowered to 4"]


def test_killed_and_run_again_it_repeats_one_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = (
        "from benchmarks.measure import variant\n"
        "from benchmarks.measure.variant import Kept\n"
        "from host import description\n"
        "from tests.benchmarks import fake, test_variant as t\n"
        "kept = Kept('digest', description.describe(1))\n"
        "variant.workloads(fake.spec('slow'), fake.spec(), kept, t.PROMPTS, t.settings(1, 2, 4))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    folder = tmp_path / Kept("digest", description.describe(1)).folder
    deadline = time.monotonic() + 60
    while not (folder / "2.json").exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (folder / "4.json").exists()
    before = (folder / "2.json").read_bytes()

    kept = Kept("digest", description.describe(1))
    done, notes = variant.workloads(fake.spec("slow"), fake.spec(), kept, PROMPTS, settings(1, 2, 4))
    assert [item.batch_asked for item in done] == [1, 2, 4]
    assert notes == [f"batch {batch}: kept from an earlier run that did not finish" for batch in (1, 2)]
    assert (folder / "2.json").read_bytes() == before
    assert len(done[2].load_ms) == 1


def test_another_setting_or_machine_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = description.describe(2)
    folders = {
        Kept("digest", here, "64 tokens").folder,
        Kept("digest", here, "32 tokens").folder,
        Kept("digest", here.model_copy(update={"cpu": "another"}), "64 tokens").folder,
        Kept("another digest", here, "64 tokens").folder,
    }
    assert len(folders) == 4


@pytest.fixture
def project(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose one variant is the tiny model itself, served by the torch runtime."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["benchmark"] = {"batches": [1, 2], "output_tokens": 6, "rounds": 3}
    raw["select"]["compare_with"] = "same"
    raw["recipes"] = {"same": {"quantizer": "none", "runtime": "torch", "options": {}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmark", "same"])
    Path("artifacts/variants").mkdir(parents=True)
    Path("artifacts/model").symlink_to(tiny_qwen2)
    variant_folder = Path("artifacts/variants/same")
    variant_folder.mkdir()
    for file in tiny_qwen2.iterdir():
        (variant_folder / file.name).write_bytes(file.read_bytes())
    recipe = params.load().recipe("same")
    manifest.write(variant_folder, variant="same", recipe=recipe, model_folder=tiny_qwen2, facts={})
    rows = [
        items.Prepared(
            Item(id=str(n), suite="s", kind="problems", task="t", question="q", answer="a"), (20 + n, 21, 22), ()
        )
        for n in range(6)
    ]
    items.save(Path("artifacts/data"), "benchmark", rows)
    return tmp_path


def test_the_stage_measures_a_real_model_on_both_sides(project: Path) -> None:
    benchmark.main()
    record = Benchmark.read(Path("artifacts/benchmark/same.json"))
    assert record.status == "measured"
    assert record.manifest_sha256 == manifest.digest(Path("artifacts/variants/same"))
    assert [workload.batch for workload in record.workloads] == [1, 2]
    for workload in record.workloads:
        assert (workload.prompt_tokens, workload.output_tokens) == (3, 6)
        assert (workload.itl_ms.count, workload.decode_ratio.rounds) == (15, 3)
        requests = 36 if workload.batch == 1 else 12
        assert workload.ttft_ms.count == workload.ttft_ms.requests == workload.itl_ms.requests == requests
        assert workload.baseline_ttft_ms is not None
        assert workload.baseline_ttft_ms.count == 12
        assert workload.decode_ratio.low <= workload.decode_ratio.median <= workload.decode_ratio.high
    assert record.peak_rss_mib is not None
    assert record.peak_rss_mib > 150  # torch alone
    assert record.load_ms is not None
    assert record.machine.versions["torch"]
    assert not list(project.glob(".cache/assay/benchmark/*/*"))  # a finished run keeps no halves


def test_a_runtime_that_cannot_run_here_says_why(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.torch.available", lambda: "no such accelerator", raising=False)
    benchmark.main()
    record = Benchmark.read(Path("artifacts/benchmark/same.json"))
    assert (record.status, record.why_not_measured) == ("not_measured_here", "no such accelerator")
    assert record.workloads == []
    assert record.peak_rss_mib is None


def test_a_runtime_that_fails_is_recorded_with_its_last_words(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spec, "of", lambda *_, **__: fake.spec("raise", name="same"))
    benchmark.main()
    record = Benchmark.read(Path("artifacts/benchmark/same.json"))
    assert (record.status, record.workloads) == ("failed", [])
    assert record.manifest_sha256 == manifest.digest(Path("artifacts/variants/same"))
    why = record.why_not_measured or ""
    assert why.startswith("benchmark failed: RuntimeFault: same (tests.benchmarks.fake) failed: ValueError: bad node")
    assert "the kernel said no" in why
    monkeypatch.setattr("sys.argv", ["benchmark", "same", "--strict"])
    with pytest.raises(RuntimeFault, match="bad node"):
        benchmark.main()
