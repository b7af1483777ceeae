"""Speed on an NVIDIA GPU, in one command: `python -m benchmarks.gpu`. Needs no network.

A random model of the R1-Distill-Qwen-1.5B shape on Hugging Face generate (dynamic cache; static cache, compiled),
onnxruntime-genai (fp16 and int4, with CUDA graphs and with paged attention) and vLLM (bf16, fp8, w8a8-int8,
w4a16-int4): 128 tokens in, 128 out, 1 to 128 requests at once. All sides are loaded at once and answer in turn, so
that ratios pair by round; on a card too small for all, `--together 4` loads four at a time. A call may take a part of
the sides and adds its figures to the result:

    python -m benchmarks.gpu --sides vllm-bf16 vllm-fp8 --profile vllm-bf16

Needs `make setup-gpu`. Out of GPU memory: a side keeps the figures of fewer requests, the others go on, and it says
what to lower. The first run makes the model and its variants. Writes benchmarks/results/gpu/gpu-<card>.json; the last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import random_model
from benchmarks.gpu import card
from benchmarks.gpu.model import HIDDEN, MODEL, NAME
from benchmarks.gpu.records import GpuProfile, GpuRun, GpuSide, GpuTarget
from benchmarks.gpu.sides import OUTPUT_TOKENS, PROMPT_TOKENS, SIDES, Measured, loaded, measure
from benchmarks.gpu.targets import merged, row
from benchmarks.measure.side import Side
from core import cli, files, progress
from core.errors import AssayError, ResourceError
from host import description, interpreter

REQUESTS = (1, 8, 32, 64, 128)
MAKE_AT_ONCE = 6  # variants: each takes up to 20 GB of memory while it is made


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--requests", type=int, nargs="+", default=list(REQUESTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--together", type=int, default=len(SIDES), help="sides loaded, and interleaved, at once")
    parser.add_argument("--profile", nargs="*", choices=SIDES, default=[], help="sides to load again and profile")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--prepare", action="store_true", help="make what is missing, and measure nothing")
    parser.add_argument("--result", type=Path)
    asked = parser.parse_args()
    here = description.describe(asked.threads)
    if here.accelerator is None:
        raise ResourceError("no NVIDIA GPU on this machine: benchmarks.gpu measures on one; see benchmarks.cpu")
    MODEL.prepare(asked.sides, asked.threads, MAKE_AT_ONCE)
    if asked.prepare:
        return
    interpreter.switch_interpreter(interpreter.GPU)
    result: Path = asked.result or card.result(here.accelerator)
    before = GpuRun.read(result) if result.exists() else None
    run = GpuRun(
        commands=[" ".join(["python -m benchmarks.gpu", *sys.argv[1:]])],
        model=NAME,
        machine=here,
        bandwidth_bytes_s=card.bandwidth_bytes_s(here.accelerator),
        copy_bytes_s=card.copy_bytes_s(),
        sides=[],
        rows=[],
        not_measured={},
    )
    for start in range(0, len(asked.sides), asked.together):
        wave = datetime.now(UTC).isoformat(timespec="seconds")
        with loaded(asked.sides[start : start + asked.together], asked.threads) as found:
            sides = {name: side for name, side in found.items() if isinstance(side, Side)}
            why_not = {name: why for name, why in found.items() if isinstance(why, str)}
            measured = measure(sides, asked.requests, asked.rounds, card.memory_mib)
        for name, side in sides.items():
            run = add(run, side, measured[name], wave)
        run = run.model_copy(update={"not_measured": run.not_measured | why_not})
        merged(before, run).save(result)
    if asked.profile:
        _profile(GpuRun.read(result), asked.profile, asked.threads).save(result)
    run = GpuRun.read(result)
    print(table(run))
    goals = [goal.model_dump() | {"met": goal.met} for goal in run.targets]
    print(json.dumps({"result": str(result), "targets": goals}))


def add(run: GpuRun, side: Side, measured: Measured, wave: str) -> GpuRun:
    """`run` with the figures of one side."""
    name, options = side.spec.name, side.spec.options
    folder = MODEL.variant(name)
    read_bytes = card.read_bytes(folder, random_model.VOCABULARY, HIDDEN, options)
    limit_s = read_bytes / run.bandwidth_bytes_s if run.bandwidth_bytes_s else None
    rows = [row(name, count, samples, measured.first[count], limit_s) for count, samples in measured.samples.items()]
    facts = GpuSide(
        name=name,
        module=options["module"],
        options={key: value for key, value in options.items() if key not in ("module", "profile")},
        wave=wave,
        artifact_mib=files.folder_bytes(folder) / 2**20,
        read_bytes=read_bytes,
        load_ms=side.load_ms,
        gpu_memory_mib=measured.memory_mib,
        peak_rss_mib=side.peak_rss_mib,
        notes=[measured.stopped] if measured.stopped else [],
    )
    return run.model_copy(update={"sides": [*run.sides, facts], "rows": [*run.rows, *rows]})


def _profile(run: GpuRun, names: list[str], threads: int) -> GpuRun:
    """`run` with the profiles of sides, each from a load of its own: a profiler would slow what is measured."""
    with tempfile.TemporaryDirectory() as place, loaded(names, threads, Path(place)) as found:
        for side in found.values():
            if isinstance(side, Side):
                _generate_and_finish(side)
        written = {name: Path(place) / f"{name}.json" for name in names}
        profiles = {name: GpuProfile.read(file) for name, file in written.items() if file.exists()}
    sides = [one.model_copy(update={"profile": profiles.get(one.name, one.profile)}) for one in run.sides]
    return run.model_copy(update={"sides": sides})


def _generate_and_finish(side: Side) -> None:
    """It writes its profile when it finishes; one that fails leaves the others theirs."""
    try:
        side.generate(random_model.prompts(1, PROMPT_TOKENS, seed=0), OUTPUT_TOKENS)
    except AssayError as error:
        progress.say(f"{side.spec.name}: no profile: {error}")
        return
    side.finish()


def table(run: GpuRun) -> str:
    """The run as aligned text: one line for each side and number of requests, then the targets."""
    lines = [
        f"{'side':18}{'requests':>9}{'tok/s':>10}{'TTFT p50':>10}{'ITL p50':>9}{'p99':>8}{'good/s':>8}{'of limit':>9}"
    ]
    for one in run.rows:
        share = f"{one.bandwidth_share:.0%}" if one.bandwidth_share else ""
        lines.append(
            f"{one.name:18}{one.requests:9}{one.decode_tok_s.median:10,.0f}{one.ttft_ms.p50:10.1f}{one.itl_ms.p50:9.2f}"
            f"{one.itl_ms.p99:8.2f}{one.goodput_requests_s.median:8.1f}{share:>9}"
        )
    lines += [f"{name}: not measured: {why[:200]}" for name, why in run.not_measured.items()]
    lines += [f"note: {note[:300]}" for side in run.sides for note in side.notes]
    return "\n".join(lines + [_describe(goal) for goal in run.targets])


def _describe(goal: GpuTarget) -> str:
    if goal.value is None:
        return f"OPEN  {goal.what}: not measured, wanted {goal.at_least:g}"
    rounds = f", rounds {goal.low:.2f} to {goal.high:.2f}" if goal.low is not None else ""
    met = "met " if goal.met else "OPEN"
    return f"{met}  {goal.what}: {goal.value:.2f} ({goal.by}{rounds}), wanted {goal.at_least:g}"


if __name__ == "__main__":
    cli.run(main)
