"""Evidence that was kept before metrics were a list stays readable, with the figures that it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu.records import GpuDrift
from drift import metrics
from drift.divergence import TokenScores
from drift.metrics import Answer, Comparison
from evaluation.records import KEPT_EARLIER, Evaluation
from tests.drift.metrics import seen
from tests.report.project import ROOT

KEPT = [path for path in sorted((ROOT / "benchmarks/results").rglob("*.json")) if "evaluations" in path.read_text()]


def evaluations(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["evaluations"]
    return found


def test_there_is_such_evidence() -> None:
    assert any(KEPT_EARLIER.keys() & one.keys() for path in KEPT for one in evaluations(path))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_kept_evidence_is_read_with_its_figures(path: Path) -> None:
    for kept, read in zip(evaluations(path), GpuDrift.read(path).evaluations, strict=True):
        if not KEPT_EARLIER.keys() & kept.keys():
            continue
        figures = {metric.name: metric for metric in read.metrics}
        forced = kept["teacher_forced"]
        assert figures["answers_lost"].value == kept["flips"]["lost"]
        assert figures["mcnemar_p"].value == kept["flips"]["mcnemar_p"]
        assert figures["kl_mean_nats"].model_dump(include=set(forced["kl_mean"])) == forced["kl_mean"]
        assert figures["kl_p99_nats"].value == forced["kl_p99"]
        assert figures["top1_agreement"].low == forced["top1_agreement"]["low"]
        assert figures["perplexity"].reference == forced["perplexity_reference"]
        assert [figures["truncated"].reference, figures["truncated"].value] == kept["behaviour"]["truncated"]
        assert figures["answers_lost"].count == figures["empty"].count == kept["items"]
        assert read.looks[-1].verdict == kept["verdict"]
        assert read.looks[-1].low_points == kept["looks"][-1]["low_points"]
        assert Evaluation.model_validate_json(read.model_dump_json()) == read  # and written anew


def test_they_are_called_as_they_are_called_now() -> None:
    answers, scores = [Answer((1, 2), "a", True)] * 3, [TokenScores(*[np.ones(4)] * 4)] * 3
    chosen = metrics.choose({name: {} for name in ("flips", "kl", "top1", "perplexity", "behaviour")})
    now = metrics.measure(chosen, Comparison(seen.answers(answers, answers).pairs, scores))
    (path, *_) = KEPT
    about = ("name", "label", "group", "unit", "counted")
    assert [[getattr(metric, key) for key in about] for metric in GpuDrift.read(path).evaluations[0].metrics] == [
        [getattr(metric, key) for key in about] for metric in now if not metric.limit or metric.counted == "tokens"
    ]
