"""Engines on disk: a version folder with the plan, its manifest and what serving needs; and the one for a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.errors import IntegrityError, RuntimeFault
from models import manifest
from models.families import Architecture
from models.manifest import Manifest
from models.tensorrt import library, profiles
from models.tensorrt.library import Card, Library
from models.tensorrt.profiles import Profile

PLAN = "engine.plan"


@dataclass(frozen=True)
class Loaded:
    """An engine's bytes, verified, and all that running it needs."""

    plan: bytes
    profiles: list[Profile]
    architecture: Architecture
    library: Library


def for_card(folder: Path, card: Card | None, root: Path = paths.ENGINES) -> Loaded:
    """The engine in `folder`, or the one below `root` that was made of the variant in `folder` for `card`.

    Raises IntegrityError when a file differs from its manifest, RuntimeFault when there is no such engine or when the
    library that made it is not installed in the same version.
    """
    if not (folder / PLAN).exists():
        folder = _made_of(folder, card, root)
    made = manifest.verify(folder)
    name, version = made.facts["library"], made.facts["library_version"]
    match = next((one for one in library.installed() if (one.name, one.version) == (name, version)), None)
    if match is None:
        raise RuntimeFault(f"{folder} was compiled by {name} {version}, which is not installed: compile it again")
    return Loaded((folder / PLAN).read_bytes(), profiles.from_json(made.facts["profiles"]), made.architecture, match)


def _made_of(folder: Path, card: Card | None, root: Path) -> Path:
    variant, digest = manifest.read(folder).variant, manifest.digest(folder)
    capability = card.capability if card else None
    for candidate in sorted((root / variant).glob(f"*/{PLAN}")):
        if _is_for(candidate.parent, digest, capability):
            return candidate.parent
    name = card.name if card else "no GPU"
    raise RuntimeFault(
        f"no engine of {variant} (manifest {digest[:12]}) for compute capability {capability} ({name}) below {root}: "
        f"add the card to compile.targets and run `python -m stages.compile {variant}`"
    )


def _is_for(folder: Path, digest: str, capability: str | None) -> bool:
    try:
        made: Manifest = manifest.read(folder)
    except IntegrityError:
        return False  # not a finished engine; the message that none was found tells what to do
    return made.facts.get("made_from") == digest and made.facts.get("compute_capability") == capability
