"""TensorRT engines of one recipe, ahead of time: one for each GPU target of params.

    python -m stages.compile trt-int8

Reads artifacts/variants/<recipe>, writes artifacts/engines/<recipe>/: compile.json, and for each target that could be
compiled for here a version folder with its manifest.json. Needs no GPU with TensorRT-RTX. A recipe whose quantizer
makes no graph for TensorRT gets a compile.json without engines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import quantizers
from core import cli, files, params, paths
from core.errors import ConfigError
from core.progress import say
from models import manifest
from models.params import Recipe, Recipes
from trt.params import CompileParams
from trt.records import Compilation, Engine

RECORD = "compile.json"


class Settings(Recipes):
    compile: CompileParams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml")
    name: str = parser.parse_args().recipe
    settings = params.load(Settings)
    recipe = settings.recipe(name)
    with files.atomic_folder(paths.ENGINES / name) as folder:
        if quantizers.traits(recipe).compiled:
            made = _compile(name, recipe, settings.compile, folder)
        else:
            made = _without_engines(name, settings.compile)
        made.save(folder / RECORD)


def _without_engines(name: str, wanted: CompileParams) -> Compilation:
    say(f"compile: {name} needs no engines")
    return Compilation(
        variant=name,
        made_from=manifest.digest(paths.VARIANTS / name),
        profiles=[],
        workspace_mib=wanted.workspace_mib,
        engines=[],
    )


def _compile(name: str, recipe: Recipe, wanted: CompileParams, folder: Path) -> Compilation:
    """Make an engine for each target, as a version below `folder`."""
    from host import gpu
    from trt import library, make, profiles

    variant = make.source(name, paths.VARIANTS / name, recipe, paths.MODEL)
    tokens, longest = wanted.context_tokens, variant.made.architecture.max_position_embeddings
    if tokens > longest:
        raise ConfigError(f"params.yaml: compile.context_tokens is {tokens}, the model ends at {longest} positions")
    libraries, card = library.installed(), gpu.card()
    made: list[Engine] = []
    for target_name, target in wanted.targets.items():
        made.append(make.engine(variant, target_name, target, wanted, libraries, card, folder / target_name))
        _report(name, made[-1])
    return Compilation(
        variant=name,
        made_from=variant.digest,
        profiles=[str(profile) for profile in profiles.plan(wanted)],
        workspace_mib=wanted.workspace_mib,
        engines=made,
    )


def _report(name: str, made: Engine) -> None:
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
