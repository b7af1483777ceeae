"""Make one variant: apply a recipe to the exported model.

    python -m stages.quantize int8-static

Reads artifacts/export and artifacts/calibration, writes artifacts/variants/<recipe>/ with its manifest.json.
"""

from __future__ import annotations

import argparse

import quantizers
from core import cli, files, params, paths
from core.params import Seed
from core.progress import say
from host.params import MachineParams
from models import manifest
from models.params import Recipes
from quantizers import Context


class Settings(Recipes):
    seed: Seed
    machine: MachineParams


def main() -> None:
    parser = argparse.ArgumentParser(description="Make one variant.")
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml")
    name = parser.parse_args().recipe
    settings = params.load(Settings)
    recipe = settings.recipe(name)
    context = Context(
        model_folder=paths.MODEL,
        export_folder=paths.EXPORT,
        calibration_folder=paths.CALIBRATION,
        data_folder=paths.DATA,
        threads=settings.machine.threads,
        seed=settings.seed,
    )
    target = paths.VARIANTS / name
    with files.atomic_folder(target) as folder:
        quantizers.make(name, recipe, context, folder)
    size_mib = files.folder_bytes(target) / 2**20
    say(f"quantize: {name} is {size_mib:.1f} MiB, manifest {manifest.digest(target)[:12]}")


if __name__ == "__main__":
    cli.run(main)
