"""Statistics of every matmul input over the calibration set.

    python -m stages.calibrate

Reads artifacts/model and artifacts/data/calibration.parquet, writes artifacts/calibration/.
"""

from __future__ import annotations

import argparse
import json

from core import cli, files, params, paths
from core.progress import say
from data import items
from models import calibration, calibration_run, manifest


def main() -> None:
    settings = params.load()
    rows = items.load(paths.DATA, "calibration")
    wanted = max(settings.calibrate.prefill_items, settings.calibrate.decode_items)
    if len(rows) < wanted:
        say(f"calibrate: {len(rows)} calibration items, fewer than the {wanted} that params ask for: using all")
    source = manifest.source_digest(paths.MODEL)
    key = files.sha256_bytes(
        json.dumps([source, settings.calibrate.model_dump(), settings.seed, [row.item.id for row in rows]]).encode()
    )
    kept = paths.CACHE / "calibration" / f"{key}.safetensors"
    tensors = calibration_run.run(
        paths.MODEL, rows, settings.calibrate, settings.machine.threads, settings.seed, kept
    )
    with files.atomic_folder(paths.CALIBRATION) as folder:
        calibration.save(folder / calibration.FILE, tensors)
    sites = calibration.load(paths.CALIBRATION)
    say(f"calibrate: {len(sites)} matmul inputs, {next(iter(sites.values())).rows} rows each")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
