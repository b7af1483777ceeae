"""What the records do not show, said out loud: computed, so that it cannot fall out of date."""

from __future__ import annotations

from evaluation.records import Evaluation
from report import engines
from report.material import Material, Variant
from report.text import number

SMALL_TASK_ITEMS = 100


def notes(material: Material, kept_from_gpu: bool = False) -> list[str]:
    """Sentences for a person, the gravest first. `kept_from_gpu`: the page has a section of another run's figures."""
    found = [
        f"Accuracy and speed of {', '.join(names)}: not measured here, {why}."
        for why, names in material.elsewhere.items()
    ]
    found += [
        f"Accuracy and speed of {one.name}: {one.failed}."
        for one in material.variants
        if one.failed and one.unmeasured
    ]
    found += [note for variant in material.shown for note in _variant(variant, material)]
    found += engines.notes(material.compilations, material.measured)
    return found + _tasks(material) + _machine(material, kept_from_gpu) + _workload(material) + _always(material)


def _variant(variant: Variant, material: Material) -> list[str]:
    name, evaluation, benchmark = variant.name, variant.evaluation, variant.benchmark
    notes = []
    for what, record in (("Accuracy", evaluation), ("Speed", benchmark)):
        if record is None:
            notes.append(f"{what} of {name}: no record.")
        elif record.status != "measured":
            here = "not measured here, " if record.status == "not_measured_here" else ""
            notes.append(f"{what} of {name}: {here}{record.why_not_measured}.")
    if evaluation and evaluation.status == "measured":
        notes += _undecided(evaluation)
        if unknown := [metric.label for metric in evaluation.metrics if metric.value is None]:
            notes.append(f"Of {name}, for want of data: {', '.join(unknown)}.")
    if benchmark and benchmark.status == "measured":
        missing = [batch for batch in material.settings.benchmark.batches if not benchmark.workload(batch)]
        if missing:
            notes.append(f"Speed of {name} at batch {', '.join(map(str, missing))}.")
        single = benchmark.workload(1)
        if single and single.ttft_ms.p95_high is None:
            few = f"{single.ttft_ms.requests} requests, too few for a bound of the 95th percentile"
            notes.append(f"Time to first token of {name} in the tail: {few}.")
        notes += [f"{name}: {note}." for note in benchmark.notes]
    return notes


def _undecided(evaluation: Evaluation) -> list[str]:
    if evaluation.verdict != "inconclusive":
        return []
    settle = evaluation.items_to_settle
    more = f"; about {settle:,} items would settle it" if settle else ""
    return [
        f"Whether {evaluation.variant} stays within {evaluation.margin_points:g} points: undecided after "
        f"{evaluation.items:,} items{more}."
    ]


def _tasks(material: Material) -> list[str]:
    chosen = material.chosen
    if chosen is None or chosen.evaluation is None:
        return []
    few = [task for task in chosen.evaluation.by_task if task.items < SMALL_TASK_ITEMS]
    named = ", ".join(f"{task.task} ({task.items} items)" for task in few)
    return [f"A loss on a single task of {chosen.name} that rests on few items: {named}."] if few else []


def _machine(material: Material, kept_from_gpu: bool) -> list[str]:
    machines = [one.benchmark.machine for one in material.variants if one.benchmark]
    if not machines or any(machine.accelerator for machine in machines):
        return []
    but = ' but those of the section "On a GPU"' if kept_from_gpu else ""
    place = f"{machines[0].cpu}, {machines[0].threads} threads, without an accelerator"
    return [f"GPUs: every figure{but} is from {place}."]


def _workload(material: Material) -> list[str]:
    loads = [load for one in material.variants if one.benchmark for load in one.benchmark.workloads]
    notes = []
    if loads:
        prompt, output = max(load.prompt_tokens for load in loads), max(load.output_tokens for load in loads)
        notes.append(f"Speed with prompts longer than {prompt} tokens, or answers longer than {output}.")
        notes.append(
            f"More than {max(load.batch for load in loads)} requests at once, or requests that arrive apart."
        )
    if material.settings.select.max_size_ratio is None:
        notes.append("Size against a limit: select.max_size_ratio is not set, so no variant was stopped by its size.")
    return notes


def _always(material: Material) -> list[str]:
    limit = material.settings.generation.max_tokens
    notes = [f"Answers beyond {number(limit)} new tokens."]
    if all(one.evaluation.samples == 1 for one in material.variants if one.evaluation):
        notes.append("Sampled decoding: every answer was decoded greedily.")
    return notes if material.data_docs else [*notes, "Whether the data meet their expectations: no data docs found."]
