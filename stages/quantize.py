"""Make one variant: apply a recipe to the exported model.

    python -m stages.quantize int8-static

Reads artifacts/export and artifacts/calibration, writes artifacts/variants/<recipe>/ with its manifest.json. A recipe
that fails leaves failed.json there, with the reason, and the other recipes go on; with --strict it ends the run.
"""

from __future__ import annotations

import quantizers
from core import cli, files, params, paths
from core.errors import AssayError, one_line
from core.params import Seed
from core.progress import say
from host.params import MachineParams
from models import manifest
from models.params import Recipes
from quantizers import Context
from quantizers.parts import version


class Settings(Recipes):
    seed: Seed
    machine: MachineParams


def main() -> None:
    asked = cli.recipe_parser(__doc__).parse_args()
    name, settings = asked.recipe, params.load(Settings)
    recipe = settings.recipe(name)
    context = Context(
        model_folder=paths.MODEL,
        export_folder=paths.EXPORT,
        calibration_folder=paths.CALIBRATION,
        data_folder=paths.DATA,
        threads=settings.machine.threads,
        seed=settings.seed,
    )
    # A mistake in params.yaml or an earlier stage that has not run says nothing about the recipe: it ends the run.
    quantizers.options(name, recipe)
    context.require(quantizers.traits(recipe).inputs)
    target = paths.VARIANTS / name
    try:
        with files.atomic_folder(target) as folder:
            version.make(name, recipe, context, folder)
    except (AssayError, MemoryError) as error:
        if asked.strict:
            raise
        failed = manifest.Failure(
            variant=name, quantizer=recipe.quantizer, error=type(error).__name__, message=one_line(error)
        )
        with files.atomic_folder(target) as folder:
            failed.save(folder / manifest.FAILED)
        say(f"quantize: {name}: {failed.reason}")
        return
    size_mib = files.folder_bytes(target) / 2**20
    say(f"quantize: {name} is {size_mib:.1f} MiB, manifest {manifest.digest(target)[:12]}")


if __name__ == "__main__":
    cli.run(main)
