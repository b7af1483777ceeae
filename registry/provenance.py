"""Where a result came from: the git commit and the digest of dvc.lock."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from core import files
from core.errors import DataError
from core.records import Record

LOCK = Path("dvc.lock")
# They tell about the result: left out, so that the digest is the same before, while and after they run.
TELLING_STAGES = ("report", "register")


class Provenance(Record):
    """None where there is no git repository, or no dvc.lock yet."""

    git_commit: str | None
    git_dirty: bool
    dvc_lock_sha256: str | None


def read(root: Path = Path()) -> Provenance:
    """Provenance of the project in `root`. dvc.lock changes during a run and does not count as dirty."""
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{LOCK}")
    return Provenance(git_commit=commit, git_dirty=bool(changed), dvc_lock_sha256=lock_sha256(root / LOCK))


def lock_sha256(path: Path = LOCK) -> str | None:
    """SHA-256 over dvc.lock's stages as sorted JSON, without `TELLING_STAGES`; None if there is no such file.

    It names every input, parameter and output of a run. Raises DataError if the file is not a lock.
    """
    if not path.exists():
        return None
    try:
        stages = yaml.safe_load(path.read_text())["stages"]
        made = {name: stage for name, stage in stages.items() if name not in TELLING_STAGES}
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a DVC lock file ({error!r}): `git checkout {path}` and run `dvc repro`"
        ) from error
    return files.sha256_bytes(json.dumps(made, sort_keys=True).encode())


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`; None when git or a repository is missing."""
    try:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None
