"""Every variant and Hugging Face generate, interleaved in one run: `python -m benchmarks.cpu [--rounds N]`.

The stage measures one variant against the baseline; this gives the ratios between variants, from the same rounds.
Needs the variants (`dvc repro quantize`). Writes benchmarks/results/cpu.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import runtimes
from benchmarks import baseline, together
from benchmarks.side import Spec
from core import cli, paths, plugins
from core.errors import DataError
from data import items
from models import manifest
from pipelines import params

RESULT = Path("benchmarks/results/cpu.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of every side (default: machine.threads in params.yaml)")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    settings = params.load()
    threads = arguments.threads or settings.machine.threads
    specs = [hugging_face(dtype, paths.MODEL, threads) for dtype in baseline.DTYPES]
    not_here: dict[str, str] = {}
    for name, recipe in settings.recipes.items():
        if reason := runtimes.why_not_here(recipe.runtime):
            not_here[name] = reason
            continue
        plugin = plugins.load("runtimes", recipe.runtime)
        folder = paths.VARIANTS / name
        if not folder.is_dir():
            raise DataError(f"{folder} not found: run `dvc repro quantize` first")
        manifest.verify(folder)
        specs.append(Spec(name, plugin.__name__, str(folder.resolve()), threads))
    names = [spec.name for spec in specs]
    run = together.measure(
        specs,
        [name for name in ("hf-float32", "hf-bfloat16", "fp32") if name in names],
        [prepared.prompt_ids for prepared in items.load(paths.DATA, "benchmark")],
        settings.benchmark.batches,
        settings.benchmark.output_tokens,
        arguments.rounds,
        command=f"python -m benchmarks.cpu --rounds {arguments.rounds} --threads {threads}",
        model=settings.model.source,
        not_measured_here=not_here,
    )
    run.save(arguments.result)
    print(together.table(run))
    print(
        json.dumps(
            summary(run, settings.benchmark.batches[0], len(baseline.DTYPES)) | {"result": str(arguments.result)}
        )
    )


def hugging_face(dtype: str, model_folder: Path, threads: int) -> Spec:
    """Hugging Face generate as a side, named hf-<dtype>."""
    return Spec(f"hf-{dtype}", baseline.__name__, str(model_folder.resolve()), threads, {"dtype": dtype})


def summary(run: together.Together, batch: int, baselines: int) -> dict[str, object]:
    """The fastest variant at `batch` over each reference; the first `baselines` sides are no variants."""
    variants = [side.name for side in run.sides[baselines:]]
    best = max((run.row(name, batch) for name in variants), key=lambda row: row.decode_tok_s.median)
    return {
        "best": best.name,
        "batch": batch,
        "decode_tok_s": round(best.decode_tok_s.median, 1),
        "times": {reference: round(ratio.median, 2) for reference, ratio in best.times.items()},
        "wall_s": round(run.wall_s, 1),
    }


if __name__ == "__main__":
    cli.run(main)
