"""The identity of a version: manifest.json in its folder, and the SHA-256 of that file's own bytes.

The manifest lists every file with its digest, how the files were made and what from. It holds no time and no path of
the machine, and its keys are sorted: the same work gives the same bytes, and so the same digest. Where a recipe
failed, its folder holds failed.json instead, and is no version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import JsonValue, ValidationError, field_validator

from core import files
from core.errors import IntegrityError
from core.records import Record
from host import packages
from models import families
from models.params import Recipe

NAME = "manifest.json"
FAILED = "failed.json"
NO_VERSION = "none"  # in the place of a digest, in records about a recipe of which there is no version
# What counts as a model's source: the same choice is copied from a folder, a bucket, the registry and the hub.
SOURCE_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
LIBRARIES = ("onnx", "onnxruntime", "onnxruntime-genai", "onnxscript", "torch", "transformers")


class FileDigest(Record):
    sha256: str
    bytes: int


class Manifest(Record):
    """What manifest.json holds. Paths are relative, with forward slashes; manifest.json itself is not listed."""

    schema_version: Literal[1] = 1
    variant: str
    quantizer: str
    options: dict[str, JsonValue]
    runtime: str
    architecture: families.Architecture
    made_from: dict[str, FileDigest]  # the source model's files
    source_sha256: str  # `source_digest` of those
    libraries: dict[str, str]  # name → version of what shaped the files
    facts: dict[str, JsonValue]  # from the quantizer
    files: dict[str, FileDigest]

    @field_validator("files", "made_from")
    @classmethod
    def _names_stay_inside(cls, listed: dict[str, FileDigest]) -> dict[str, FileDigest]:
        for name in listed:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
                raise ValueError(f"file name {name!r} is not a plain relative path")
        return listed


class Failure(Record):
    """What failed.json holds: why `quantize` made no version of a recipe."""

    variant: str
    quantizer: str
    error: str  # the name of its class
    message: str

    @property
    def reason(self) -> str:
        return f"quantize failed: {self.message}"


def write(
    folder: Path,
    *,
    variant: str,
    recipe: Recipe,
    model_folder: Path,
    facts: Mapping[str, Any],
    libraries: Iterable[str] = LIBRARIES,
) -> Manifest:
    """Hash every file in `folder` and write its manifest.json (replacing an old one); returns what was written.

    `model_folder` holds the original model, `facts` is what the quantizer returned (JSON values only),
    `libraries` are the distributions whose versions shaped the files; one that is not installed is left out.
    """
    sources = source_files(model_folder)
    manifest = Manifest(
        variant=variant,
        quantizer=recipe.quantizer,
        options=recipe.options,
        runtime=recipe.runtime,
        architecture=families.read(model_folder),
        made_from=sources,
        source_sha256=_digest_of(sources),
        libraries=packages.versions(libraries),
        facts=dict(facts),
        files=_hash_all(folder, _plain_files(folder)),
    )
    content = json.dumps(
        manifest.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
    )
    files.write_text(folder / NAME, content + "\n")
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest of `folder`, not checked against the files. Raises IntegrityError if missing or malformed."""
    path = folder / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _no_version(folder) from None
    except ValidationError as error:
        raise IntegrityError(f"{path} is not a manifest: {error.errors()[0]['msg']}") from error


def verify(folder: Path) -> Manifest:
    """Hash every file again and compare with the manifest; returns the manifest.

    Raises IntegrityError that names each changed, missing and extra file, and anything that is not a plain file.
    """
    manifest = read(folder)
    present = set(_plain_files(folder))
    missing = sorted(manifest.files.keys() - present)
    extra = sorted(present - manifest.files.keys())
    hashed = _hash_all(folder, present & manifest.files.keys())
    changed = sorted(name for name in hashed if hashed[name] != manifest.files[name])
    problems = [
        f"{word}: {', '.join(names)}"
        for word, names in (("changed", changed), ("missing", missing), ("extra", extra))
        if names
    ]
    if problems:
        raise IntegrityError(
            f"{folder} does not match its {NAME} ({'; '.join(problems)}): do not serve it, make or fetch it again"
        )
    return manifest


def digest(folder: Path) -> str:
    """SHA-256 of manifest.json's bytes: the name of this version everywhere downstream."""
    path = folder / NAME
    if not path.is_file():
        raise _no_version(folder)
    return files.sha256_file(path)


def failure(folder: Path) -> Failure | None:
    """Why `folder` holds no version, or None where `quantize` made one or has not run."""
    return None if (folder / NAME).exists() else Failure.read_if_exists(folder / FAILED)


def _no_version(folder: Path) -> IntegrityError:
    failed = failure(folder)
    why = failed.reason if failed else "not a finished version; run `dvc repro` to make it"
    return IntegrityError(f"{folder} has no {NAME}: {why}")


def source_files(folder: Path) -> dict[str, FileDigest]:
    """Digest of each file of a model folder that counts as its source (top level, `SOURCE_SUFFIXES`).

    Links are followed: a snapshot in the hub's cache is made of them. A README may change without a new model.
    """
    names = sorted(file.name for file in folder.iterdir() if is_source(file.name) and file.is_file())
    return _hash_all(folder, names)


def is_source(name: str) -> bool:
    """Whether a file of this name belongs to a model's source."""
    return name.endswith(SOURCE_SUFFIXES) and not name.startswith(".") and name != NAME


def source_digest(folder: Path) -> str:
    """One SHA-256 for a source model: over the sorted lines `<sha256>  <name>` of its files."""
    return _digest_of(source_files(folder))


def _digest_of(listed: Mapping[str, FileDigest]) -> str:
    return files.sha256_bytes("".join(f"{listed[name].sha256}  {name}\n" for name in sorted(listed)).encode())


def _plain_files(folder: Path) -> list[str]:
    """Relative names of the files below `folder`, without the manifest; refuses links, pipes and devices."""
    names = []
    for root, folders, leaves in os.walk(folder):
        for name in folders + leaves:
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise IntegrityError(f"{folder} holds {relative}, which is no plain file: a version has no links")
            if path.is_file() and relative != NAME:
                names.append(relative)
    return sorted(names)


def _hash_all(folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """Digests by name. Threads help: hashlib lets go of the interpreter lock while it works."""

    def hash_one(name: str) -> tuple[str, FileDigest]:
        path = folder / name
        return name, FileDigest(sha256=files.sha256_file(path), bytes=path.stat().st_size)

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return dict(pool.map(hash_one, names))
