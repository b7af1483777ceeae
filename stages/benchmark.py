"""Measure one variant's speed and memory against Hugging Face generate: `python -m stages.benchmark <recipe>`.

Reads the benchmark split, the original model and the variant's folder; writes artifacts/benchmark/<recipe>.json.
Killed, it resumes and repeats at most one batch size. A recipe that failed, now or in quantize, gets a record with
the reason; with --strict a fault of its runtime ends the run.
"""

from __future__ import annotations

import runtimes
from benchmarks.measure import variant
from benchmarks.params import BenchmarkParams
from core import cli, params, paths, progress
from data import items
from host.params import MachineParams
from models import manifest
from models.params import Recipes


class Settings(Recipes):
    machine: MachineParams
    benchmark: BenchmarkParams


def main() -> None:
    asked = cli.recipe_parser(__doc__).parse_args()
    name, settings = asked.recipe, params.load(Settings)
    runtime, folder = settings.recipe(name).runtime, paths.VARIANTS / name
    if manifest.failure(folder) is None:
        runtimes.switch_interpreter_for(runtime)
    record = variant.measure(
        name,
        runtime,
        folder,
        paths.MODEL,
        [prepared.prompt_ids for prepared in items.load(paths.DATA, "benchmark")],
        settings.benchmark,
        settings.machine.threads,
        strict=asked.strict,
    )
    record.save(paths.BENCHMARK / f"{name}.json")
    if record.status == "not_measured_here":
        progress.say(f"{name}: not measured here: {record.why_not_measured}")
    if record.status == "failed":
        progress.say(f"{name}: {record.why_not_measured}")
    for note in record.notes:
        progress.say(f"{name}: {note}")
    for load in record.workloads:
        progress.say(
            f"{name}: batch {load.batch}: {load.decode_tok_s.median:.0f} tok/s decode, "
            f"{load.decode_ratio.median:.2f}x the baseline ({load.decode_ratio.low:.2f}-{load.decode_ratio.high:.2f})"
        )


if __name__ == "__main__":
    cli.run(main)
