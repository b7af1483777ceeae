"""Build and push the image of the version that `register` registered: the job `build`, on the default branch.

    python -m ci.build_image

Reads artifacts/registration.json, fetches that variant from the DVC remote, holds it to its manifest, builds
deploy/docker/Dockerfile with buildah and pushes it under the manifest's digest. Leaves image.json, which names the
image by its own digest, and deployment.yaml: deploy/kubernetes/server with that image.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import runtimes
from core import cli, paths
from core.errors import ConfigError, IntegrityError, ResourceError
from core.files import write_text
from models import manifest
from models.manifest import Manifest
from registry.records import Registration

DOCKERFILE = Path("deploy/docker/Dockerfile")
MANIFESTS = Path("deploy/kubernetes/server")
PLACEHOLDER = "assay/server"  # the image's name in MANIFESTS
VERSION_IN_IMAGE = "/assay/version"  # where DOCKERFILE puts the variant
IMAGE, DEPLOYMENT = Path("image.json"), Path("deployment.yaml")
BY_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    done, repository = Registration.read(paths.REGISTRATION), _needed("CI_REGISTRY_IMAGE")
    _run("ci/repro-shared", f"quantize@{done.variant}")
    folder = paths.VARIANTS / done.variant
    made = manifest.verify(folder)
    if (held := manifest.digest(folder)) != done.manifest_sha256:
        raise IntegrityError(
            f"{folder} is manifest {held[:12]}, but {done.manifest_sha256[:12]} was registered: run `register` again"
        )
    name = f"{repository}/server:{done.manifest_sha256}"
    digest = build(*ground(made.runtime), name, folder, done.manifest_sha256)
    image = f"{repository}/server@{digest}"
    told = {"image": image, "manifest_sha256": done.manifest_sha256, "variant": done.variant}
    write_text(IMAGE, json.dumps(told) + "\n")
    write_text(DEPLOYMENT, deployment(image, notes(folder, made)))
    print(json.dumps(told))


def ground(runtime: str) -> tuple[str, Path]:
    """What an image stands on: the base, by digest, and the lock of what it lacks. A runtime with a lock of its own
    (for one whose own image brings all but a few packages) has a base of its own. Raises ConfigError."""
    own = DOCKERFILE.parent / f"requirements-{runtime}.lock"
    variable = f"ASSAY_BASE_IMAGE_{runtime.upper()}" if own.exists() else "ASSAY_BASE_IMAGE"
    base = _needed(variable)
    if not BY_DIGEST.fullmatch(base):
        raise ConfigError(f"{variable} is '{base}': name the image by digest, name@sha256:<64 hex digits>")
    return base, own if own.exists() else DOCKERFILE.parent / "requirements.lock"


def build(base: str, lock: Path, name: str, folder: Path, manifest_sha256: str) -> str:
    """Build and push `name`; returns the digest (sha256:...) that the registry knows the image by."""
    values = {"BASE": base, "LOCK": str(lock), "VARIANT": str(folder), "MANIFEST_SHA256": manifest_sha256}
    given = [part for key, value in values.items() for part in ("--build-arg", f"{key}={value}")]
    # Docker's format keeps HEALTHCHECK, which the OCI format has no place for.
    _run("buildah", "build", "--format", "docker", "--file", str(DOCKERFILE), *given, "--tag", name, ".")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "digest"
        _run("buildah", "push", "--digestfile", str(file), name)
        return file.read_text().strip()


def notes(folder: Path, made: Manifest) -> dict[str, str]:
    """What a reader of the cluster should know: the version, and what its runtime says of an image of it."""
    own = runtimes.traits(made.runtime).image_labels(folder, VERSION_IN_IMAGE)
    return {"assay/manifest-sha256": manifest.digest(folder), "assay/variant": made.variant, **own}


def deployment(image: str, noted: Mapping[str, str] = MappingProxyType({})) -> str:
    """deploy/kubernetes/server as YAML, with `image` (by digest) as the server's and annotations `noted`."""
    name, digest = image.split("@")
    with tempfile.TemporaryDirectory(dir=MANIFESTS.parent) as scratch:  # kustomize takes relative paths only
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"../{MANIFESTS.name}"],
            "images": [{"name": PLACEHOLDER, "newName": name, "digest": digest}],
            "commonAnnotations": dict(noted),
        }
        Path(scratch, "kustomization.yaml").write_text(json.dumps(overlay))  # JSON is YAML
        return _run("kubectl", "kustomize", scratch, keep=True)


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"{name} is not set: the project's CI variables need it, see docs/ci.md")
    return value


def _run(*command: str, keep: bool = False) -> str:
    """Run a program in the job's log; `keep`: return what it prints instead."""
    try:
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if keep else None)
    except FileNotFoundError:
        raise ResourceError(f"{command[0]} is not installed here: use an image that has it, see docs/ci.md") from None
    except subprocess.CalledProcessError as error:
        raise ResourceError(f"`{' '.join(command[:2])}` ended with {error.returncode}: see above") from error
    return done.stdout or ""


if __name__ == "__main__":
    cli.run(main)
