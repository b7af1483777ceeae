"""A graph that is right passes, within torch's own rounding; each way to be wrong is found."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from core.errors import ExportError
from data import items
from export import check, fused
from quantizers import Context
from tests import tiny
from tests.export import faults
from tests.models import made


@pytest.fixture(params=["float32", "float16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_graph_is_within_torchs_own_rounding(
    workshop: Context, original: check.Original, kind: str, dtype: str, tmp_path: Path
) -> None:
    found = original.compare(faults.planted(workshop.export_folder, kind, dtype, None, tmp_path))
    assert found.dtype == dtype
    assert found.kl_mean_nats < check.FACTOR * found.torch_kl_mean_nats
    assert found.top1_agreement == 1
    assert found.top1_tokens > found.tokens / 2
    assert found.torch_kl_mean_nats < {"float32": 1e-10, "float16": 1e-3}[dtype]


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        pytest.param(kind, plant, id=f"{kind}-{name}")
        for name, kinds, plant in (
            ("padding-seen", faults.KINDS, faults.padding_is_seen),
            ("future-seen", ["standard"], faults.future_is_seen),
            ("window", ["fused"], faults.window_of(16)),
            ("positions-from-20", faults.KINDS, faults.positions_off_by_one_from(20)),
            ("positions-from-100", faults.KINDS, faults.positions_off_by_one_from(100)),
            ("positions-in-decode", ["standard"], faults.positions_off_by_one_in_decode),
            ("cache-shifted", faults.KINDS, faults.cache_shifted),
            ("layers-swapped", faults.KINDS, faults.layers_swapped),
            ("weight-1.1", faults.KINDS, faults.weight_times(1.1)),
            ("scale-1.02", faults.KINDS, faults.attention_scale_times(1.02)),
            ("nan", faults.KINDS, faults.weight_times(np.nan)),
        )
        for kind in kinds
    ],
)
def test_a_wrong_graph_is_refused(
    workshop: Context, original: check.Original, kind: str, dtype: str, plant: faults.Fault, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"differs from torch by a KL .* rounding to {dtype} costs"):
        original.compare(faults.planted(workshop.export_folder, kind, dtype, plant, tmp_path))


def test_a_graph_that_onnxruntime_cannot_run_is_refused(original: check.Original, tmp_path: Path) -> None:
    (tmp_path / fused.GRAPH).write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"onnxruntime cannot run .*model\.onnx: InvalidProtobuf"):
        original.compare(tmp_path / fused.GRAPH)


def test_a_model_that_float16_cannot_hold_is_named(tmp_path: Path) -> None:
    model = tiny.make(tmp_path / "model", initializer_range=20.0)
    items.save(tmp_path, "calibration", made.items(model, 4))
    with pytest.raises(ExportError, match=r"model overflows in torch's own float16 .* use bf16 or fp32"):
        check.Original(model, tmp_path, 2).rounding("float16")


def test_another_likeliest_token_is_found_where_no_token_is_likely(
    original: check.Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a thousand tokens are about as likely, two of them do not move the KL divergence."""
    noise = np.random.default_rng(0)
    expected = [noise.normal(scale=0.3, size=(len(row), 50_000)) for row in original.rows]
    flat = copy.copy(original)
    flat.logits = [np.where(logits == logits.max(-1, keepdims=True), logits + 0.5, logits) for logits in expected]
    rounded = [logits + noise.normal(scale=0.01, size=logits.shape) for logits in flat.logits]
    flat._rounding = {"float32": check._Divergence.of(flat.logits, rounded)}
    monkeypatch.setattr(check, "_run", lambda *_: ("float32", rounded))
    assert flat.compare(Path("right")).top1_agreement == 1

    rounded[0][1, rounded[0][1].argmax()] -= 0.8
    with pytest.raises(ExportError, match="disagree on the likeliest token in 1 of"):
        flat.compare(Path("wrong"))


def test_rows_differ_in_length_whatever_the_prompts() -> None:
    rows = check._choose([[1] * 10] * 4, 30)
    assert [len(row) for row in rows] == [5, 10, 30]
    assert check._choose([[1, 2, 3]], 2) == [(1, 2), (1, 2), (1, 2)]
