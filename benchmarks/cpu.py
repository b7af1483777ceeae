"""Every variant and Hugging Face generate, interleaved in one run: `python -m benchmarks.cpu [--rounds N]`.

The stage measures one variant against the baseline; this gives the ratios between variants, from the same rounds.
Needs the variants (`dvc repro quantize`). Writes benchmarks/results/cpu.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import runtimes
from benchmarks import side_by_side
from benchmarks.measure import baseline
from benchmarks.measure.side import Spec
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
    specs = [side_by_side.hugging_face(dtype, paths.MODEL, threads) for dtype in baseline.DTYPES]
    not_here: dict[str, str] = {}
    for name, recipe in settings.recipes.items():
        if reason := runtimes.why_not_here(recipe.runtime):
            not_here[name] = reason
            continue
        folder = paths.VARIANTS / name
        if not folder.is_dir():
            raise DataError(f"{folder} not found: run `dvc repro quantize` first")
        manifest.verify(folder)
        specs.append(Spec.of(name, plugins.load("runtimes", recipe.runtime), folder, threads))
    names = [spec.name for spec in specs]
    run = side_by_side.measure(
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
    print(side_by_side.table(run))
    best = side_by_side.summary(run, settings.benchmark.batches[0])
    print(json.dumps(best | {"result": str(arguments.result)}))


if __name__ == "__main__":
    cli.run(main)
