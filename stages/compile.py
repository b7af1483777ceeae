"""TensorRT engines of one recipe, ahead of time: one for each GPU target of params.

    python -m stages.compile trt-int8

Reads artifacts/variants/<recipe>, writes artifacts/engines/<recipe>/: compile.json, and for each target that could be
compiled for here a version folder with its manifest.json. Needs no GPU with TensorRT-RTX. A recipe whose quantizer
makes no graph for TensorRT gets a compile.json without engines; so does one that failed, with the reason.
"""

from __future__ import annotations

from pathlib import Path

import quantizers
from core import cli, files, params, paths
from core.errors import VERSION_FAULTS, ConfigError, one_line
from core.progress import say
from models import manifest
from models.params import Recipe, Recipes
from trt.params import CompileParams
from trt.records import Compilation, Engine

RECORD = "compile.json"


class Settings(Recipes):
    compile: CompileParams


def main() -> None:
    asked = cli.recipe_parser(__doc__).parse_args()
    name, settings = asked.recipe, params.load(Settings)
    recipe, target = settings.recipe(name), paths.ENGINES / name
    if not quantizers.traits(recipe).compiled:
        _save_without_engines(name, settings.compile, target)
        return
    if failure := manifest.failure(paths.VARIANTS / name):
        _save_without_engines(name, settings.compile, target, failure.reason)
        return
    try:
        with files.atomic_folder(target) as folder:
            _compile(name, recipe, settings.compile, folder).save(folder / RECORD)
    except VERSION_FAULTS as error:
        if asked.strict:
            raise
        _save_without_engines(name, settings.compile, target, f"compile failed: {one_line(error)}")


def _save_without_engines(name: str, wanted: CompileParams, target: Path, failed: str | None = None) -> None:
    say(f"compile: {name}: {failed}" if failed else f"compile: {name} needs no engines")
    variant = paths.VARIANTS / name
    made = Compilation(
        variant=name,
        made_from=manifest.NO_VERSION if manifest.failure(variant) else manifest.digest(variant),
        profiles=[],
        workspace_mib=wanted.workspace_mib,
        engines=[],
        failed=failed,
    )
    with files.atomic_folder(target) as folder:
        made.save(folder / RECORD)


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
