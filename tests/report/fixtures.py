"""Records as the stages write them, with plausible figures, for tests of select, report and register."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.records import Benchmark, Percentiles, Spread, Workload
from core.records import Interval, Verdict
from drift.records import Look, Metric
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation, Flip, TaskAccuracy
from host.records import Machine
from selection import ranking
from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import Decision

TASKS = ("chain_sum", "gcd", "products", "word_problems")
MACHINE = Machine(
    cpu="AMD EPYC 9B14",
    cores=2,
    memory_mib=7948,
    accelerator=None,
    threads=2,
    versions={"onnxruntime": "1.32.0", "onnxruntime-genai": "0.18.0", "python": "3.11.7", "torch": "2.13.0"},
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@dataclass(frozen=True)
class Shape:
    """What a variant is like: points lost, discordance, speed over fp32, MiB, KL, looks taken, margin, verdict."""

    loss: float
    discordance: float
    speed: float
    mib: float
    kl: float
    looks: int
    margin: float
    verdict: Verdict


SHAPES = {
    "fp32": Shape(0.0, 0.001, 1.0, 28.9, 1e-9, 1, 0.5, "pass"),
    "fp16": Shape(0.0, 0.002, 1.1, 14.6, 4e-7, 1, 0.5, "pass"),
    "int8-weight": Shape(0.05, 0.008, 1.35, 8.9, 3e-5, 4, 0.5, "pass"),
    "int4-weight": Shape(1.3, 0.06, 1.6, 6.2, 9e-3, 23, 1.0, "inconclusive"),
    "int8-static": Shape(0.1, 0.02, 2.2, 8.6, 1.2e-3, 6, 1.0, "pass"),
}


def digest(variant: str) -> str:
    return (variant.encode().hex() * 8)[:64]


def evaluation(variant: str, **changes: Any) -> Evaluation:
    shape = SHAPES[variant]
    items = min(256 * shape.looks, 6000)
    half = shape.margin - shape.loss - 0.08 if shape.verdict == "pass" else 0.9
    lost = round(items * (shape.discordance + shape.loss / 100) / 2)
    gained = round(items * (shape.discordance - shape.loss / 100) / 2) if shape.discordance > shape.loss / 100 else 0
    reasons = {
        "pass": f"the whole interval lies above -{shape.margin:g} points",
        "fail": f"the whole interval lies below -{shape.margin:g} points",
        "inconclusive": f"the interval straddles -{shape.margin:g} points when the item budget is spent",
    }
    record = Evaluation(
        variant=variant,
        manifest_sha256=digest(variant),
        runtime="ort",
        runtime_version="0.18.0",
        reference_sha256="ab" * 32,
        reference_runtime="torch 2.13.0",
        seed=20261124,
        status="measured",
        verdict=shape.verdict,
        reason=reasons[shape.verdict],
        margin_points=shape.margin,
        alpha=0.05,
        items=items,
        items_budget=6000,
        items_to_settle=19000 if shape.verdict == "inconclusive" else None,
        accuracy_reference=interval(0.93, 0.012, items),
        accuracy_variant=interval(0.93 - shape.loss / 100, 0.012, items),
        delta_points=interval(-shape.loss, half, items),
        looks=[_look(shape, 256 * index, half) for index in range(1, shape.looks + 1)],
        by_task=[
            TaskAccuracy(task=task, items=items // 4, reference=base, variant=base - shape.loss / 100 * weight)
            for task, base, weight in zip(TASKS, (0.97, 0.95, 0.86, 0.94), (0.4, 0.8, 2.4, 0.4), strict=True)
        ],
        metrics=metrics(shape, items, lost, gained),
        flip_examples=[_flip(variant, index) for index in range(min(lost + gained, 4))],
        wall_s=9.0 * shape.looks,
        peak_rss_mib=612.0,
    )
    return record.model_copy(update=changes)


def metrics(shape: Shape, items: int, lost: int, gained: int) -> list[Metric]:
    """As the shipped metric files give them."""
    forced = {"group": "Drift, teacher-forced", "counted": "tokens", "count": 20011}
    seen = {"group": "What a user would notice", "counted": "answers", "count": items, "unit": "share"}
    flips = {"group": "Changed answers", "counted": "items", "count": items}
    kl = interval(shape.kl, shape.kl * 0.2, 20011).model_dump()
    top1 = interval(1 - shape.discordance / 3, shape.discordance / 12, 20011).model_dump()
    ratio = interval(1 + shape.kl, shape.kl * 0.4, 20011).model_dump()
    truncated = {"value": 0.004 + shape.loss / 200, "reference": 0.004}
    length = {"value": 78.2 + shape.loss, "reference": 78.2}
    found: list[dict[str, Any]] = [
        flips | {"name": "answers_lost", "label": "answers lost", "unit": "items", "value": lost},
        flips | {"name": "answers_gained", "label": "answers gained", "unit": "items", "value": gained},
        flips | {"name": "mcnemar_p", "label": "McNemar p, exact", "unit": "probability", "value": 0.31},
        forced | {"name": "kl_mean_nats", "label": "KL divergence, mean", "unit": "nats"} | kl,
        forced | {"name": "kl_max_nats", "label": "KL, largest", "unit": "nats", "value": shape.kl * 310},
        forced | {"name": "top1_agreement", "label": "same top token", "unit": "share"} | top1,
        forced | {"name": "perplexity_ratio", "label": "perplexity ratio", "unit": "ratio"} | ratio,
        seen | {"name": "truncated", "label": "cut off"} | truncated,
        seen | {"name": "mean_output_tokens", "label": "mean length", "unit": "tokens"} | length,
    ]
    return [Metric.model_validate(one) for one in found]


def benchmark(variant: str, samples: int = 60, **changes: Any) -> Benchmark:
    shape = SHAPES[variant]
    record = Benchmark(
        variant=variant,
        manifest_sha256=digest(variant),
        runtime="ort",
        baseline="Hugging Face generate, fp32",
        status="measured",
        machine=MACHINE,
        workloads=[workload(shape.speed, batch, samples) for batch in (1, 4, 8, 16)],
        load_ms=spread(120 + 3 * shape.mib),
        artifact_mib=shape.mib,
        peak_rss_mib=140 + 2.4 * shape.mib,
        baseline_peak_rss_mib=512.0,
        wall_s=41.0,
    )
    return record.model_copy(update=changes)


def workload(speed: float, batch: int, samples: int = 60) -> Workload:
    itl = 2.06 / speed * batch**0.55
    output = 1000 * batch / itl
    shape = np.array([0.9, *np.linspace(0.94, 1.15, 18), 1.3, 2.1])
    return Workload(
        batch=batch,
        prompt_tokens=31,
        output_tokens=64,
        ttft_ms=percentiles(4.1 * batch**0.7, 5.2 * batch**0.7, 7.0 * batch**0.7, samples, samples),
        itl_ms=percentiles(itl, itl * 1.3, itl * 1.9, 63 * samples, samples),
        output_tok_s=spread(output * 0.96),
        decode_tok_s=spread(output),
        baseline_output_tok_s=spread(105.0 * batch**0.8),
        baseline_decode_tok_s=spread(110.0 * batch**0.8),
        decode_ratio=spread(output / (110.0 * batch**0.8)),
        baseline_ttft_ms=Percentiles(p50=11.0, p95=14.0, p99=19.0, count=samples),
        baseline_itl_ms=Percentiles(p50=9.1, p95=11.2, p99=15.0, count=63 * samples),
        itl_quantiles_ms=(itl * shape).tolist(),
        baseline_itl_quantiles_ms=(9.1 * shape).tolist(),
    )


def percentiles(p50: float, p95: float, p99: float, count: int, requests: int) -> Percentiles:
    bounds = {"p95_low": p95 * 0.95, "p95_high": p95 * 1.2 if requests >= 59 else None}
    return Percentiles(p50=p50, p95=p95, p99=p99, count=count, requests=requests, **bounds)


def evidence(variant: str, **changes: Any) -> Evidence:
    fields = {
        "variant": variant,
        "runtime": "ort",
        "manifest_sha256": digest(variant),
        "problem": None,
        "evaluation": evaluation(variant),
        "benchmark": benchmark(variant),
    }
    return Evidence(**(fields | changes))


def decided(items: Sequence[Evidence], select: SelectParams, confirmed: Verdict = "pass") -> Decision:
    """The decision, after a confirmation that said what the winner's evaluation did, but for its verdict."""
    evaluate = EvaluateParams(chunk_items=1, batch=1, alpha=0.05, margin_points=1, teacher_forced_items=1, metrics={})
    due = ranking.to_confirm(items, select, evaluate)
    winner = next((item.evaluation for item in items if item.variant == due.variant), None)
    again = winner.model_copy(update={"verdict": confirmed, "items": 1280}) if winner else None
    return ranking.decide(items, select, evaluate, due.model_copy(update={"evaluation": again}))


def interval(value: float, half: float, count: int) -> Interval:
    return Interval(value=value, low=value - half, high=value + half, level=0.95, count=count)


def spread(median: float) -> Spread:
    return Spread(median=median, low=median * 0.96, high=median * 1.05, rounds=5)


def _look(shape: Shape, items: int, last_half: float) -> Look:
    last = 256 * shape.looks
    half = last_half * (last / items) ** 0.5
    delta = -shape.loss + half * 0.4 * float(np.sin((last - items) / 300))
    return Look(items=items, delta_points=delta, low_points=delta - half, high_points=delta + half)


def _flip(variant: str, index: int) -> Flip:
    direction: Literal["lost", "gained"] = "gained" if index == 2 else "lost"
    worked = "<think>\n48 + 17 = 65\n65 + 120 = {}\n{} + 9 = {}\n</think>\nThe answer is {}."
    right, wrong = worked.format(185, 185, 194, 194), worked.format(175, 175, 184, 184)
    if index == 1:
        wrong = "<think>\n48 + 17 = 65\n" + "65 + 120 = 65 + 120 = " * 14
    return Flip(
        item_id=f"{variant}-{index}",
        task=TASKS[index % 4],
        question=f"What is 48 + 17 + 120 + 9? {HOSTILE if index == 3 else ''}".strip(),
        answer="194",
        reference_text=wrong if direction == "gained" else right,
        variant_text=right if direction == "gained" else wrong,
        direction=direction,
    )
