"""The engine for the card at hand: the one that `compile` made of the variant, or one that is compiled now and kept.

A card need not be among compile.targets, and `evaluate` need not wait for `compile`.
"""

from __future__ import annotations

from pathlib import Path

from core import files, params, paths
from core.errors import RuntimeFault
from core.progress import say
from host.gpu import Card
from models import manifest
from models.params import Recipe
from trt import engines, library, make
from trt.engines import Loaded
from trt.params import CompileSettings, TargetParams

CACHE = paths.CACHE / "engines"


def load(folder: Path, card: Card) -> Loaded:
    """The engine in `folder`, or the one for the variant in `folder`, with the profiles of params.

    Raises RuntimeFault with the reason when it does not fit the card or cannot be compiled, IntegrityError when a
    file differs from its manifest.
    """
    if (folder / engines.PLAN).exists():
        return engines.read(folder)
    return engines.read(engines.made_of(folder, card) or _compiled(folder, card))


def _compiled(folder: Path, card: Card) -> Path:
    """Compile into the cache, once for each variant, card and profile."""
    made, wanted = manifest.verify(folder), params.load(CompileSettings).compile
    versions = [(one.name, one.version) for one in library.installed()]
    key = files.sha256_bytes(repr([manifest.digest(folder), card, wanted, versions]).encode())[:16]
    target = CACHE / made.variant / key
    if not (target / engines.PLAN).exists():
        say(f"compiling {made.variant} for {card.name}: none of its engines in {paths.ENGINES} is for this card")
        recipe = Recipe(quantizer=made.quantizer, runtime=made.runtime, options=made.options)
        source = make.source(made.variant, folder, recipe, paths.MODEL)
        aim = TargetParams(compute_capability=card.capability, memory_mib=card.memory_mib)
        with files.atomic_folder(target) as unfinished:
            built = make.engine(source, card.name, aim, wanted, library.installed(), card, unfinished)
            if built.status != "compiled":
                raise RuntimeFault(f"no engine of {made.variant} for {card.name}: {built.why}")
    return target
