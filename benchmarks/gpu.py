"""Speed on an NVIDIA GPU, in one command: `python -m benchmarks.gpu`. Needs no network.

A random model of the R1-Distill-Qwen-1.5B shape on Hugging Face generate (dynamic cache; static cache, compiled),
onnxruntime-genai (fp16 and int4, with CUDA graphs and with paged attention) and vLLM (bf16, fp8, w8a8-int8,
w4a16-int4): 128 tokens in, 128 out, 1 to 128 requests at once. The engines pin different libraries, and a card is
often lent by the minute, so a call may take a part of the sides and adds its figures to the result:

    python -m benchmarks.gpu --sides hf-bf16-dynamic hf-bf16-static
    python -m benchmarks.gpu --sides vllm-bf16 vllm-fp8 --together 2 --profile vllm-bf16

Out of GPU memory: the benchmark halves the requests, goes on, and says what to lower. The first run makes the model
and its variants. Writes benchmarks/results/gpu/gpu-<card>.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import machine
from bench.rounds import FIRST_TOKENS, WARMUP_TOKENS
from bench.side import OutOfMemory, Sample, Side, Spec
from benchmarks import gpu_card, gpu_model, gpu_worker
from benchmarks.gpu_record import GpuRow, GpuRun, GpuSide, merged, row, targets
from core import cli, files, plugins, progress
from core.errors import AssayError, ResourceError

REQUESTS = (1, 8, 32, 64, 128)
PROMPT_TOKENS = OUTPUT_TOKENS = 128
HUGGING_FACE = {
    "hf-bf16-dynamic": {"dtype": "bfloat16", "cache": "dynamic"},
    "hf-bf16-static": {"dtype": "bfloat16", "cache": "static"},
    "hf-fp16-static": {"dtype": "float16", "cache": "static"},
    "hf-fp32-static": {"dtype": "float32", "cache": "static"},
}
SIDES = (*HUGGING_FACE, *gpu_model.RECIPES)
# A static cache compiles again for every batch size; the fp16-against-fp32 row needs one request. A graph that was
# captured for one stream takes no more.
LIMITED = {"hf-bf16-static": (1, 8), "hf-fp16-static": (1,), "hf-fp32-static": (1,)}
LIMITED |= {"ort-fp16-graph": (1,), "ort-int4-graph": (1,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--requests", type=int, nargs="+", default=list(REQUESTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--together", type=int, default=1, help="sides to load at once; each needs room on the card")
    parser.add_argument("--profile", nargs="*", choices=SIDES, default=[], help="sides to load again and profile")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--prepare", action="store_true", help="make what is missing, and measure nothing")
    parser.add_argument("--result", type=Path)
    asked = parser.parse_args()
    here = machine.describe(asked.threads)
    if here.accelerator is None:
        raise ResourceError("no NVIDIA GPU on this machine: benchmarks.gpu measures on one; see benchmarks.cpu")
    gpu_model.prepare(asked.sides, asked.threads, asked.together)
    if asked.prepare:
        return
    card = gpu_card.slug(here.accelerator)
    result: Path = asked.result or Path(f"benchmarks/results/gpu/gpu-{card}.json")
    run = GpuRun(
        commands=[" ".join(["python -m benchmarks.gpu", *sys.argv[1:]])],
        model=gpu_model.NAME,
        machine=here,
        bandwidth_bytes_s=gpu_card.bandwidth_bytes_s(here.accelerator),
        copy_bytes_s=gpu_card.copy_bytes_s(),
        sides=[],
        rows=[],
        not_measured={},
        notes=[],
    )
    for start in range(0, len(asked.sides), asked.together):
        names = asked.sides[start : start + asked.together]
        # The pool stays until they have ended: a worker dies with the thread that started it.
        with ThreadPoolExecutor(len(names)) as pool:
            started = list(pool.map(lambda name: _start(name, asked.threads), names))
            for name, side in zip(names, started, strict=True):
                run = _add(run, name, side, asked.requests, asked.rounds)
                merged(GpuRun.read(result) if result.exists() else None, run).save(result)
    for name in asked.profile:
        _profiled(GpuRun.read(result), name, asked.threads).save(result)
    run = GpuRun.read(result)
    print(table(run))
    print(
        json.dumps({"result": str(result), "targets": [one.model_dump() | {"met": one.met} for one in targets(run)]})
    )


def _start(name: str, threads: int, profile: Path | None = None) -> Side | str:
    """A loaded side, or why it cannot be measured here. On finishing it writes `profile`, if one is named."""
    options = dict(HUGGING_FACE.get(name, {}))
    if name in HUGGING_FACE:
        module = "bench.baseline"
    else:
        plugin = plugins.load("models.runtimes", gpu_model.RECIPES[name].runtime)
        if why := plugin.available():
            return str(why)
        module = plugin.__name__
    options |= {"module": module, "profile": str(profile or "")}
    spec = Spec(name, gpu_worker.__name__, str(gpu_model.folder(name).resolve()), threads, options)
    try:
        return Side(spec)
    except AssayError as error:
        return str(error)


def _add(run: GpuRun, name: str, side: Side | str, requests: Sequence[int], rounds: int) -> GpuRun:
    """`run` with one side's figures, or with the reason why it has none. The side has ended."""
    if isinstance(side, str):
        progress.say(f"{name}: not measured: {side}")
        return run.model_copy(update={"not_measured": run.not_measured | {name: side}})
    progress.say(f"{name}: loaded in {side.load_ms / 1000:.0f} s")
    read_bytes = gpu_card.read_bytes(
        gpu_model.folder(name), gpu_model.VOCABULARY, gpu_model.HIDDEN, side.spec.options
    )
    limit_s = read_bytes / run.bandwidth_bytes_s if run.bandwidth_bytes_s else None
    rows: list[GpuRow] = []
    notes: list[str] = []
    memory: float | None = None
    for count in sorted(set(requests) & set(LIMITED.get(name, requests))):
        try:
            rows.append(row(name, count, *_measured(side, count, rounds), limit_s))
        except AssayError as error:
            notes.append(_note(name, count, rows, error))
            progress.say(notes[-1])
            side.close()
            break
        memory = max(filter(None, (memory, gpu_card.memory_mib(side.pid))), default=None)
        progress.say(f"{name}: {count} requests: {rows[-1].decode_tok_s.median:,.0f} tok/s")
    side.finish()
    facts = GpuSide(
        name=name,
        module=side.spec.options["module"],
        options={key: value for key, value in side.spec.options.items() if key not in ("module", "profile")},
        artifact_mib=files.folder_bytes(gpu_model.folder(name)) / 2**20,
        read_bytes=read_bytes,
        load_ms=side.load_ms,
        gpu_memory_mib=memory,
        peak_rss_mib=side.peak_rss_mib,
    )
    return run.model_copy(
        update={"sides": [*run.sides, facts], "rows": [*run.rows, *rows], "notes": [*run.notes, *notes]}
    )


def _measured(side: Side, count: int, rounds: int) -> tuple[list[Sample], list[Sample]]:
    """Timed rounds of fresh prompts, after a warm-up; and short requests for the time to first token."""
    prompts = iter(gpu_model.prompts((2 + rounds + FIRST_TOKENS) * count, PROMPT_TOKENS, seed=count))

    def batch() -> list[list[int]]:
        return [next(prompts) for _ in range(count)]

    side.generate(batch(), WARMUP_TOKENS)
    side.generate(batch(), WARMUP_TOKENS)
    samples = [side.generate(batch(), OUTPUT_TOKENS) for _ in range(rounds)]
    return samples, [side.generate(batch(), 2) for _ in range(FIRST_TOKENS)]


def _note(name: str, count: int, rows: Sequence[GpuRow], error: AssayError) -> str:
    done = f"figures stand up to {rows[-1].requests}" if rows else "it has no figures"
    if isinstance(error, OutOfMemory):
        lower = "lower engine.kv_cache_mib or max_num_seqs of the recipe, --requests, or --together"
        return f"{name}: out of GPU memory at {count} requests: {done}; {lower}"
    return f"{name}: failed at {count} requests: {done}. {error}"


def _profiled(run: GpuRun, name: str, threads: int) -> GpuRun:
    """`run` with the side's profile, from a load of its own: a profiler would slow what is measured."""
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "profile.json"
        side = _start(name, threads, written)
        if isinstance(side, str):
            return run.model_copy(update={"notes": [*run.notes, f"{name}: not profiled: {side}"]})
        side.generate(gpu_model.prompts(1, PROMPT_TOKENS, seed=0), WARMUP_TOKENS)
        side.finish()
        profile = json.loads(written.read_text()) if written.exists() else None
    sides = [one.model_copy(update={"profile": profile}) if one.name == name else one for one in run.sides]
    return run.model_copy(update={"sides": sides})


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
    lines += [f"note: {note[:300]}" for note in run.notes]
    for goal in targets(run):
        seen = "not measured" if goal.value is None else f"{goal.value:.2f} ({goal.by})"
        lines.append(f"{'met ' if goal.met else 'OPEN'}  {goal.what}: {seen}, wanted {goal.at_least:g}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
