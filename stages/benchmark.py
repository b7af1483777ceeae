"""Measure one variant's speed and memory against Hugging Face generate: `python -m stages.benchmark <recipe>`.

Reads the benchmark split, the original model and the variant's folder; writes artifacts/benchmark/<recipe>.json.
Killed, it resumes and repeats at most one batch size.
"""

from __future__ import annotations

import argparse

import runtimes
from benchmarks.measure import variant
from benchmarks.params import BenchmarkParams
from core import cli, params, paths, progress
from data import items
from host.params import MachineParams
from models.params import Recipes


class Settings(Recipes):
    machine: MachineParams
    benchmark: BenchmarkParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml")
    name: str = parser.parse_args().recipe
    settings = params.load(Settings)
    runtimes.switch_interpreter_for(settings.recipe(name).runtime)
    record = variant.measure(
        name,
        settings.recipe(name).runtime,
        paths.VARIANTS / name,
        paths.MODEL,
        [prepared.prompt_ids for prepared in items.load(paths.DATA, "benchmark")],
        settings.benchmark,
        settings.machine.threads,
    )
    record.save(paths.BENCHMARK / f"{name}.json")
    if record.status == "not_measured_here":
        progress.say(f"{name}: not measured here: {record.why_not_measured}")
    for note in record.notes:
        progress.say(f"{name}: {note}")
    for load in record.workloads:
        progress.say(
            f"{name}: batch {load.batch}: {load.decode_tok_s.median:.0f} tok/s decode, "
            f"{load.decode_ratio.median:.2f}x the baseline ({load.decode_ratio.low:.2f}-{load.decode_ratio.high:.2f})"
        )


if __name__ == "__main__":
    cli.run(main)
