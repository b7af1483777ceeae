"""Any number of sides in one interleaved run, so that the ratio of any two of them comes from the same rounds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import baseline, figures
from benchmarks.measure.rounds import Prompts, interleave
from benchmarks.measure.side import Sample, Side, Spec
from benchmarks.records import Percentiles, Spread
from core import files, progress
from core.records import Record
from host import description
from host.records import Machine


class SideFacts(Record):
    """What one side is, and what its process took over the whole run."""

    name: str
    module: str
    options: dict[str, str]
    artifact_mib: float
    load_ms: float  # one load in a fresh process, imports included
    peak_rss_mib: float


class SideFigures(Record):
    """One side at one batch size; `times` holds its decode rate over each reference's, paired by round."""

    name: str
    batch: int
    prompt_tokens: int
    output_tokens: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    prompt_tok_s: Spread
    output_tok_s: Spread
    decode_tok_s: Spread
    times: dict[str, Spread]


class SideBySide(Record):
    """One run of many sides."""

    command: str
    model: str
    machine: Machine
    sides: list[SideFacts]
    rows: list[SideFigures]
    not_measured_here: dict[str, str]  # name → why
    notes: list[str]
    wall_s: float

    def side(self, name: str, batch: int) -> SideFigures:
        """The figures of one side at one batch size; raises KeyError where it was not measured."""
        for row in self.rows:
            if (row.name, row.batch) == (name, batch):
                return row
        raise KeyError(f"{name} at batch {batch}")


def measure(
    specs: Sequence[Spec],
    references: Sequence[str],
    prompts: Prompts,
    batches: Sequence[int],
    output_tokens: int,
    rounds: int,
    *,
    command: str,
    model: str,
    not_measured_here: Mapping[str, str] | None = None,
) -> SideBySide:
    """Load every side in its own process and measure all of them round by round.

    `references` are names of specs that every side is divided by. Raises RuntimeFault when a worker fails: a result
    that silently lacks a side would not be one run.
    """
    start = time.perf_counter()
    rows: list[SideFigures] = []
    with description.Others() as others, ExitStack() as stack:
        sides = []
        for spec in specs:
            sides.append(stack.enter_context(Side(spec)))
            progress.say(f"{spec.name}: loaded in {sides[-1].load_ms / 1000:.1f} s")
        for batch in batches:
            samples = interleave(sides, prompts, batch, output_tokens, rounds)
            named = {spec.name: sample for spec, sample in zip(specs, samples, strict=True)}
            rows += [_figures(name, named, references) for name in named]
        facts = [
            SideFacts(
                name=side.spec.name,
                module=side.spec.module,
                options=side.spec.options,
                artifact_mib=files.folder_bytes(Path(side.spec.folder)) / 2**20,
                load_ms=side.load_ms,
                peak_rss_mib=side.peak_rss_mib,
            )
            for side in sides
        ]
    return SideBySide(
        command=command,
        model=model,
        machine=description.describe(specs[0].threads),
        sides=facts,
        rows=rows,
        not_measured_here=dict(not_measured_here or {}),
        notes=[note] if (note := others.note()) else [],
        wall_s=time.perf_counter() - start,
    )


def _figures(name: str, samples: Mapping[str, Sequence[Sample]], references: Sequence[str]) -> SideFigures:
    own = samples[name]
    decode = {key: [figures.decode_tok_s(sample) for sample in samples[key]] for key in {name, *references}}
    batch = own[0].batch
    return SideFigures(
        name=name,
        batch=batch,
        prompt_tokens=round(sum(sample.prompt_tokens for sample in own) / (batch * len(own))),
        output_tokens=len(own[0].stamps_s),
        ttft_ms=figures.percentiles([figures.ttft_ms(sample) for sample in own]),
        itl_ms=figures.percentiles([gap for sample in own for gap in figures.itl_ms(sample)]),
        prompt_tok_s=figures.spread([figures.prompt_tok_s(sample) for sample in own]),
        output_tok_s=figures.spread([figures.output_tok_s(sample) for sample in own]),
        decode_tok_s=figures.spread(decode[name]),
        times={reference: figures.ratio(decode[name], decode[reference]) for reference in references},
    )


def table(run: SideBySide) -> str:
    """The run as aligned text: one line for each side and batch size."""
    facts = {side.name: side for side in run.sides}
    references = list(run.rows[0].times)
    head = ["side", "batch", "decode tok/s", "low", "high", "TTFT ms", "ITL p50", "p95", "p99", "prompt tok/s"]
    head += ["artifact MiB", "RSS MiB", *(f"x {reference}" for reference in references)]
    lines = [head]
    for row in run.rows:
        rate, gap, side = row.decode_tok_s, row.itl_ms, facts[row.name]
        cells = [row.name, str(row.batch), f"{rate.median:.1f}", f"{rate.low:.1f}", f"{rate.high:.1f}"]
        cells += [f"{row.ttft_ms.p50:.1f}", f"{gap.p50:.2f}", f"{gap.p95:.2f}", f"{gap.p99:.2f}"]
        cells += [f"{row.prompt_tok_s.median:.0f}", f"{side.artifact_mib:.1f}", f"{side.peak_rss_mib:.0f}"]
        lines.append(cells + [f"{row.times[reference].median:.2f}" for reference in references])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    text += [f"{name}: not measured here: {why}" for name, why in run.not_measured_here.items()]
    return "\n".join(text + [f"note: {note}" for note in run.notes])


def hugging_face(dtype: str, model_folder: Path, threads: int) -> Spec:
    """Hugging Face generate as a side, named hf-<dtype>."""
    return Spec.of(f"hf-{dtype}", baseline, model_folder, threads, dtype=dtype)


def summary(run: SideBySide, batch: int) -> dict[str, object]:
    """The fastest variant at `batch` over each reference."""
    variants = [side.name for side in run.sides if side.module != baseline.__name__]
    best = max((run.side(name, batch) for name in variants), key=lambda one: one.decode_tok_s.median)
    return {
        "best": best.name,
        "batch": batch,
        "decode_tok_s": round(best.decode_tok_s.median, 1),
        "times": {reference: round(ratio.median, 2) for reference, ratio in best.times.items()},
        "wall_s": round(run.wall_s, 1),
    }
