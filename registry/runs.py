"""One MLflow run for each variant, with its parameters, figures and verdicts, so that the UI compares variants."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.records import Benchmark
from core import files
from core.params import Seed
from core.records import combined
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.records import Evaluation
from host.params import MachineParams
from models.params import ModelParams
from registry import store
from selection.params import SelectSettings
from selection.records import GateResult


class Settings(SelectSettings):
    """What a run's parameters say of params.yaml."""

    seed: Seed
    model: ModelParams
    machine: MachineParams
    generation: GenerationParams
    evaluate: EvaluateParams


def verdict_tags(gates: list[GateResult]) -> dict[str, str]:
    """`verdict.<gate>` for each gate of one variant, and `validation_status`: passed, failed or inconclusive."""
    status = {"fail": "failed", "pass": "passed", "inconclusive": "inconclusive"}
    overall = status[combined(gate.verdict for gate in gates)]
    return {f"verdict.{gate.gate}": gate.verdict for gate in gates} | {"validation_status": overall}


def failure_tag(*records: Evaluation | Benchmark | None) -> dict[str, str]:
    """`failure`, the reason, for a variant whose recipe failed in quantize or while it was measured; else nothing."""
    reasons = [record.why_not_measured for record in records if record and record.status == "failed"]
    return {"failure": reasons[0]} if reasons and reasons[0] else {}


def log(
    client: Any,
    experiment_id: str,
    settings: Settings,
    name: str,
    evaluation: Evaluation | None,
    benchmark: Benchmark | None,
    tags: Mapping[str, str],
) -> str:
    """Log variant `name` and return the run's id. The same evidence is logged once; then its run is returned."""
    from mlflow.entities import Metric, Param, RunTag

    parameters = _parameters(settings, name)
    records = {"evaluation": evaluation, "benchmark": benchmark}
    evidence = repr((name, parameters, sorted(tags.items()), evaluation, benchmark))
    digest = files.sha256_bytes(evidence.encode())
    with store.faults():
        kept = client.search_runs([experiment_id], f"tags.evidence_sha256 = '{digest}' and status = 'FINISHED'")
        if kept:
            return str(kept[0].info.run_id)
        run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
        now_ms = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, now_ms, 0) for key, value in _metrics(evaluation, benchmark)],
            params=[Param(key, value) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in {**tags, "evidence_sha256": digest}.items()],
        )
        for kind, record in records.items():
            if record is not None:
                client.log_text(run_id, record.model_dump_json(indent=2), f"evidence/{kind}.json")
        client.set_terminated(run_id)
    return run_id


def _parameters(settings: Settings, name: str) -> dict[str, str]:
    recipe = settings.recipe(name)
    found = {
        "quantizer": recipe.quantizer,
        "runtime": recipe.runtime,
        "margin_points": settings.evaluate.margin_of(recipe),
        "model_source": settings.model.source,
        "seed": settings.seed,
        "threads": settings.machine.threads,
        "max_tokens": settings.generation.max_tokens,
        "objective": settings.select.objective,
        **{f"options.{key}": value for key, value in recipe.options.items()},
    }
    return {key: str(value) for key, value in found.items()}


def _metrics(evaluation: Evaluation | None, benchmark: Benchmark | None) -> Iterator[tuple[str, float]]:
    """Names with units; a figure that was not measured has no metric."""
    if evaluation and evaluation.delta_points:
        yield "delta_points", evaluation.delta_points.value
        yield "delta_points_low", evaluation.delta_points.low
        yield "delta_points_high", evaluation.delta_points.high
        yield "items", evaluation.items
    if evaluation and evaluation.accuracy_variant and evaluation.accuracy_reference:
        yield "accuracy", evaluation.accuracy_variant.value
        yield "accuracy_reference", evaluation.accuracy_reference.value
    for metric in evaluation.metrics if evaluation else []:
        figures = {
            "": metric.value,
            "_low": metric.low,
            "_high": metric.high,
            "_reference": metric.reference,
        }
        yield from ((metric.name + end, value) for end, value in figures.items() if value is not None)
    if benchmark and benchmark.status == "measured":
        yield "artifact_mib", benchmark.artifact_mib
        if benchmark.peak_rss_mib is not None:
            yield "peak_rss_mib", benchmark.peak_rss_mib
        if benchmark.load_ms is not None:
            yield "load_ms", benchmark.load_ms.median
        for load in benchmark.workloads:
            yield f"output_tok_s_batch_{load.batch}", load.output_tok_s.median
            yield f"decode_ratio_batch_{load.batch}", load.decode_ratio.median
        if single := benchmark.workload(1):
            yield "itl_p50_ms", single.itl_ms.p50
            yield "itl_p95_ms", single.itl_ms.p95
            yield "ttft_p95_ms", single.ttft_ms.p95
