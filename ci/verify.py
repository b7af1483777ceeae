"""Is this approval still what it was, and is the version sound? The approval pipeline's first job; it moves nothing.

    python -m ci.verify --model assay --version 7 --digest <manifest's SHA-256>

Checks that alias `approved` points at the version, that the version is that manifest, that its own evidence passes,
and that every file in the artifact store has the hash in the manifest. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from core import cli, params
from core.errors import IntegrityError, RolloutError
from models import manifest
from rollout.aliases import APPROVED, MlflowRegistry, Registered, Registry
from rollout.params import RolloutSettings


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True, type=int)
    parser.add_argument("--digest", required=True)
    given = parser.parse_args(argv)
    expected = params.load(RolloutSettings).model.name
    if given.model != expected:
        raise RolloutError(f"model '{given.model}' was approved, this project's is '{expected}': see params.yaml")
    found = check(MlflowRegistry(expected), given.version, given.digest)
    print(json.dumps({"model": expected, "version": found.number, "digest": found.digest, "evidence": found.why}))


def check(registry: Registry, number: int, digest: str) -> Registered:
    """The version, when everything holds. Raises RolloutError, IntegrityError or RegistryError on what does not."""
    found = registry.version(number)
    if found.digest != digest:
        raise RolloutError(
            f"version {number} is manifest {found.digest[:12]}, but {digest[:12]} was approved: look at it again"
        )
    if (approved := registry.alias(APPROVED)) != number:
        now = f"now points at version {approved}" if approved is not None else "was removed"
        raise RolloutError(f"alias '{APPROVED}' {now}: the approval of version {number} is no longer valid")
    if found.evidence != "pass":
        raise RolloutError(f"version {number}'s own evidence says {found.evidence} ({found.why}): choose another")
    folder = registry.folder(found)
    manifest.verify(folder)
    if (held := manifest.digest(folder)) != digest:
        raise IntegrityError(f"{folder} holds manifest {held[:12]}, not {digest[:12]}: delete it and try again")
    return found


if __name__ == "__main__":
    cli.run(main)
