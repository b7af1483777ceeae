"""Statistics of every matmul input over the calibration set.

    python -m stages.calibrate

Reads artifacts/model and artifacts/data/calibration.parquet, writes artifacts/calibration/.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

from calibration import run as calibration_run
from calibration import statistics
from calibration.params import CalibrateParams
from core import cli, files, params, paths
from core.params import Section, Seed
from core.progress import say
from data import items
from data.items import Prepared
from host.params import MachineParams
from models import manifest


class Settings(Section):
    seed: Seed
    machine: MachineParams
    calibrate: CalibrateParams


def main() -> None:
    settings = params.load(Settings)
    rows = items.load(paths.DATA, "calibration")
    wanted = max(settings.calibrate.prefill_items, settings.calibrate.decode_items)
    if len(rows) < wanted:
        say(f"calibrate: {len(rows)} calibration items, fewer than the {wanted} that params ask for: using all")
    kept = _kept(manifest.source_digest(paths.MODEL), rows, settings)
    tensors = calibration_run.run(
        paths.MODEL, rows, settings.calibrate, settings.machine.threads, settings.seed, kept
    )
    with files.atomic_folder(paths.CALIBRATION) as folder:
        statistics.save(folder / statistics.FILE, tensors)
    sites = statistics.load(paths.CALIBRATION)
    say(f"calibrate: {len(sites)} matmul inputs, {next(iter(sites.values())).rows} rows each")


def _kept(source_sha256: str, rows: Sequence[Prepared], settings: Settings) -> Path:
    """Where a killed run left its state: one file for each model, settings, tokens and code that collected it.

    An item's id is not enough, because a file of questions that was edited keeps its line numbers.
    """
    tokens = [[row.prompt_ids, row.target_ids] for row in rows]
    code = [inspect.getsource(module) for module in (calibration_run, statistics)]
    key = json.dumps([code, source_sha256, settings.calibrate.model_dump(), settings.seed, tokens])
    return paths.CACHE / "calibration" / f"{files.sha256_bytes(key.encode())}.safetensors"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
