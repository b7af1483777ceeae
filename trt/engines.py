"""Engines on disk, each a version folder with the plan, its manifest and what serving needs; and the one for a card.

A card need not be among compile.targets, and `evaluate` need not wait for `compile`: an engine that is not there is
compiled when it is asked for, and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import files, params, paths
from core.errors import IntegrityError, RuntimeFault
from core.progress import say
from host.gpu import Card
from models import manifest
from models.families import Architecture
from models.manifest import Manifest
from models.params import Recipe
from trt import library, make, profiles
from trt.library import Library
from trt.make import PLAN
from trt.params import CompileSettings, TargetParams
from trt.profiles import Profile

CACHE = paths.CACHE / "engines"


@dataclass(frozen=True)
class Loaded:
    """An engine's bytes, verified, and all that running it needs."""

    plan: bytes
    profiles: list[Profile]
    architecture: Architecture
    library: Library


def load(folder: Path, card: Card) -> Loaded:
    """The engine in `folder`, or the one for the variant in `folder`, with the profiles of params.

    Raises RuntimeFault with the reason when it does not fit the card or cannot be compiled, IntegrityError when a
    file differs from its manifest.
    """
    if (folder / PLAN).exists():
        return read(folder)
    return read(made_of(folder, card) or _compiled(folder, card))


def _compiled(folder: Path, card: Card) -> Path:
    """Compile into the cache, once for each variant, card and profile."""
    made, wanted = manifest.verify(folder), params.load(CompileSettings).compile
    versions = [(one.name, one.version) for one in library.installed()]
    key = files.sha256_bytes(repr([manifest.digest(folder), card, wanted, versions]).encode())[:16]
    target = CACHE / made.variant / key
    if not (target / PLAN).exists():
        say(f"compiling {made.variant} for {card.name}: none of its engines in {paths.ENGINES} is for this card")
        recipe = Recipe(quantizer=made.quantizer, runtime=made.runtime, options=made.options)
        source = make.source(made.variant, folder, recipe, paths.MODEL)
        aim = TargetParams(compute_capability=card.capability, memory_mib=card.memory_mib)
        with files.atomic_folder(target) as unfinished:
            built = make.engine(source, card.name, aim, wanted, library.installed(), card, unfinished)
            if built.status != "compiled":
                raise RuntimeFault(f"no engine of {made.variant} for {card.name}: {built.why}")
    return target


def read(folder: Path) -> Loaded:
    """The engine in `folder`.

    Raises IntegrityError when a file differs from its manifest, RuntimeFault when the library that made it is not
    installed in the same version.
    """
    made = manifest.verify(folder)
    name, version = made.facts["library"], made.facts["library_version"]
    match = next((one for one in library.installed() if (one.name, one.version) == (name, version)), None)
    if match is None:
        raise RuntimeFault(f"{folder} was compiled by {name} {version}, which is not installed: compile it again")
    return Loaded((folder / PLAN).read_bytes(), profiles.from_json(made.facts["profiles"]), made.architecture, match)


def made_of(variant_folder: Path, card: Card, root: Path = paths.ENGINES) -> Path | None:
    """Folder of the engine below `root` that was made of this very variant for the card's compute capability."""
    variant, digest = manifest.read(variant_folder).variant, manifest.digest(variant_folder)
    candidates = (plan.parent for plan in sorted((root / variant).glob(f"*/{PLAN}")))
    return next((folder for folder in candidates if _is_for(folder, digest, card.capability)), None)


def _is_for(folder: Path, digest: str, capability: str) -> bool:
    try:
        made: Manifest = manifest.read(folder)
    except IntegrityError:
        return False  # not a finished engine: another one is looked for, or made
    return made.facts.get("made_from") == digest and made.facts.get("compute_capability") == capability
