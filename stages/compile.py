"""TensorRT engines of one recipe, ahead of time: one for each GPU target of params.

    python -m stages.compile trt-int8

Reads artifacts/variants/<recipe>, writes artifacts/engines/<recipe>/: compile.json, and for each target that could be
compiled for here a version folder with its manifest.json. Needs no GPU with TensorRT-RTX.
"""

from __future__ import annotations

import argparse

from core import cli, files, params, paths
from core.errors import ConfigError
from core.progress import say
from host import gpu
from models.params import Recipes
from trt import library, make, profiles
from trt.params import CompileParams
from trt.records import Compilation, Engine

RECORD = "compile.json"
RUNTIME = "tensorrt"


class Settings(Recipes):
    compile: CompileParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml whose runtime is tensorrt")
    name: str = parser.parse_args().recipe
    settings = params.load(Settings)
    recipe = settings.recipe(name)
    if recipe.runtime != RUNTIME:
        raise ConfigError(f"params.yaml: recipes.{name}.runtime is {recipe.runtime}: only {RUNTIME} has engines")
    variant = make.source(name, paths.VARIANTS / name, recipe, paths.MODEL)
    wanted, longest = settings.compile.context_tokens, variant.made.architecture.max_position_embeddings
    if wanted > longest:
        raise ConfigError(f"params.yaml: compile.context_tokens is {wanted}, the model ends at {longest} positions")
    libraries, card = library.installed(), gpu.card()
    made: list[Engine] = []
    with files.atomic_folder(paths.ENGINES / name) as folder:
        for target_name, target in settings.compile.targets.items():
            made.append(
                make.engine(variant, target_name, target, settings.compile, libraries, card, folder / target_name)
            )
            _tell(name, made[-1])
        Compilation(
            variant=name,
            made_from=variant.digest,
            profiles=[str(profile) for profile in profiles.plan(settings.compile)],
            workspace_mib=settings.compile.workspace_mib,
            engines=made,
        ).save(folder / RECORD)


def _tell(name: str, made: Engine) -> None:
    if made.status == "compiled" and made.layers and made.plan_mib and made.build_s:
        kinds = ", ".join(f"{count} {precision}" for precision, count in made.layers.matmuls.items())
        say(
            f"compile: {name} for {made.target}: {made.plan_mib:.1f} MiB in {made.build_s:.1f} s; matmuls {kinds}; "
            f"attention fused {made.layers.attention_fused} of {made.layers.attention}; "
            f"needs {made.memory.total_mib:,.0f} of {made.memory.target_mib:,.0f} MiB"
        )
    else:
        say(f"compile: {name} for {made.target}: {made.status.replace('_', ' ')}: {made.why}")


if __name__ == "__main__":
    cli.run(main)
