"""Statistics are exact, bounded, and the same after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration import run as calibration_run
from calibration import statistics
from calibration.run import Collector
from models import families
from tests.models import made


def test_collector_matches_numpy_and_stays_bounded() -> None:
    collector = Collector(sample_rows=64, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(5, 200, 8, generator=torch.Generator().manual_seed(1))
    for part in rows:
        collector.add("x", part)
    whole = rows.reshape(-1, 8)
    assert torch.equal(collector.tensors["x/low"], whole.amin(0))
    assert torch.equal(collector.tensors["x/high"], whole.amax(0))
    assert torch.allclose(collector.tensors["x/sum"], whole.double().sum(0))
    assert int(collector.tensors["x/rows"]) == 1000
    assert collector.tensors["x/sample"].shape == (64, 8)


def test_sample_is_uniform_over_all_rows() -> None:
    """Each of ten parts gives its share of the sample: chi-square over 10 parts, 9 degrees of freedom, p = 0.001."""
    collector = Collector(sample_rows=1000, generator=torch.Generator().manual_seed(0))
    for part in range(10):
        collector.add("x", torch.full((500, 1), float(part)))
    counts = np.bincount(collector.tensors["x/sample"][:, 0].int().numpy(), minlength=10)
    assert np.square(counts - 100).sum() / 100 < 27.9


def test_padding_is_not_counted(tiny_qwen2: Path, tmp_path: Path) -> None:
    rows = made.items(tiny_qwen2, 16)
    tensors = calibration_run.run(tiny_qwen2, rows, made.CALIBRATE, 2, 0, tmp_path / "kept")
    real = sum(len(row.prompt_ids) + len(row.target_ids) for row in rows)
    for site in statistics.site_modules(families.read(tiny_qwen2).layers):
        assert int(tensors[f"prefill/{site}/rows"]) == real
        seen = made.CALIBRATE.decode_items // 2  # the others' replies are held out
        assert int(tensors[f"decode/{site}/rows"]) == seen * made.CALIBRATE.decode_steps


def test_every_other_reply_is_held_out_of_the_statistics(tiny_qwen2: Path, tmp_path: Path) -> None:
    """Its text is kept all the same, and is the model's own: greedy, up to the end token."""
    rows = made.items(tiny_qwen2, 16)
    settings = made.CALIBRATE
    tensors = calibration_run.run(tiny_qwen2, rows, settings, 2, 0, tmp_path / "kept")
    statistics.save(tmp_path / statistics.FILE, tensors)
    texts = statistics.own_texts(tmp_path)
    assert sum(text.held_out for text in texts) == sum(not text.held_out for text in texts) == len(texts) / 2
    assert {text.prompt for text in texts} == {row.prompt_ids for row in rows[-settings.decode_items :]}
    model = calibration_run._load(tiny_qwen2)
    for text in texts:
        ids = torch.tensor([[*text.prompt, *text.reply]])
        answers = model(ids).logits[0, len(text.prompt) - 1 : -1].argmax(-1)
        assert tuple(answers.tolist()) == text.reply


KILLED = """
import sys
from pathlib import Path
from calibration import run as calibration_run
from tests.models import made
calibration_run.CHECKPOINT_BATCHES = 1
folder, kept = Path(sys.argv[1]), Path(sys.argv[2])
settings = made.CALIBRATE.model_copy(update={"decode_items": 400, "decode_steps": 40, "batch": 1})
calibration_run.run(folder, made.items(folder, 400), settings, 1, 0, kept)
"""


def test_killed_run_resumes_and_ends_the_same(tiny_qwen2: Path, tmp_path: Path) -> None:
    """SIGKILL after the first checkpoint; the next run starts from it and draws the same sample."""
    whole = calibration_run.run(tiny_qwen2, made.items(tiny_qwen2, 16), made.CALIBRATE, 2, 0, tmp_path / "whole")
    kept = tmp_path / "kept"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_qwen2), str(kept)], env=os.environ | {"PYTHONPATH": "."}
    )
    deadline = time.monotonic() + 60
    while not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, _ = calibration_run._resume(kept)
    assert done >= 1

    partly = tmp_path / "partly"
    _stop_after(tiny_qwen2, partly, batches=3)
    resumed = calibration_run.run(tiny_qwen2, made.items(tiny_qwen2, 16), made.CALIBRATE, 2, 0, partly)
    assert resumed.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def _stop_after(model: Path, kept: Path, batches: int) -> None:
    """A run that dies in its fourth batch, after its checkpoint of the third."""
    original, calls = calibration_run._prefill, 0

    def dying(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > batches:
            raise KeyboardInterrupt
        original(*arguments)  # type: ignore[arg-type]  # passed on unchanged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration_run, "_prefill", dying)
        patch.setattr(calibration_run, "CHECKPOINT_BATCHES", 1)
        with pytest.raises(KeyboardInterrupt):
            calibration_run.run(model, made.items(model, 16), made.CALIBRATE, 2, 0, kept)


def test_prefill_records_the_heads_input_without_running_the_head(tiny_qwen2: Path) -> None:
    model, rows = calibration_run._load(tiny_qwen2), made.items(tiny_qwen2, 4)
    collector = Collector(64, torch.Generator(), mask=None)
    model.lm_head.register_forward_pre_hook(lambda *_: pytest.fail("the head ran: its logits are what fills memory"))
    with torch.inference_mode():
        calibration_run._prefill(model, collector, rows)
    assert int(collector.tensors["head/rows"][0]) == sum(len(row.prompt_ids) + len(row.target_ids) for row in rows)
