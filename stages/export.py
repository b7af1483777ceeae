"""Torch weights to ONNX, held against torch on prefill and on decode steps.

    python -m stages.export

Reads artifacts/model and the calibration prompts, writes artifacts/export/fused, artifacts/export/standard and
artifacts/export/export.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from core import cli, files, params, paths
from core.params import Section
from core.progress import say
from export import check, fused, standard
from host.params import MachineParams
from models import manifest


class Settings(Section):
    machine: MachineParams


def main() -> None:
    settings = params.load(Settings)
    threads = settings.machine.threads
    record: dict[str, object] = {"source_sha256": manifest.source_digest(paths.MODEL)}
    original = check.Original(paths.MODEL, paths.DATA, threads)
    with files.atomic_folder(paths.EXPORT) as folder:
        for name, exporter in (("fused", fused.export), ("standard", standard.export)):
            say(f"export: {name} graph")
            exporter(paths.MODEL, folder / name, threads)
            found = original.compare(folder / name / fused.GRAPH)
            say(f"export: {name} differs from torch by {found}")
            record[name] = asdict(found)
        files.write_text(folder / "export.json", json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)
