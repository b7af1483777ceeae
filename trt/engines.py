"""Engines on disk: a version folder with the plan, its manifest and what serving needs; and the one for a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.errors import IntegrityError, RuntimeFault
from host.gpu import Card
from models import manifest
from models.families import Architecture
from models.manifest import Manifest
from trt import library, profiles
from trt.library import Library
from trt.profiles import Profile

PLAN = "engine.plan"


@dataclass(frozen=True)
class Loaded:
    """An engine's bytes, verified, and all that running it needs."""

    plan: bytes
    profiles: list[Profile]
    architecture: Architecture
    library: Library


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
