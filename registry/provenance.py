"""Where a result came from: the git commit and the digest of dvc.lock."""

from __future__ import annotations

import json
import os
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
    """`git_commit` is None where there is no repository, or where git could not tell: then `git_problem` says why."""

    git_commit: str | None
    git_dirty: bool | None  # None: not known
    git_problem: str | None = None
    dvc_lock_sha256: str | None  # None: no dvc.lock yet


class _NoRepository(Exception):  # noqa: N818 - an answer
    pass


def read(root: Path = Path()) -> Provenance:
    """Provenance of the project in `root`. dvc.lock changes during a run and does not count as dirty."""
    commit, dirty, problem = None, None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{LOCK}"))
    except _NoRepository:
        pass
    except DataError as error:
        commit, problem = None, str(error)
    return Provenance(
        git_commit=commit, git_dirty=dirty, git_problem=problem, dvc_lock_sha256=lock_sha256(root / LOCK)
    )


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


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command about the repository that `root` lies in, whatever GIT_* variables point to.

    Raises _NoRepository outside of any, DataError with git's own first line when it fails or is not installed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise DataError("git is not installed") from None
    if run.returncode == 0:
        return run.stdout.strip()
    said = (run.stderr.strip().splitlines() or [f"git ended with {run.returncode}"])[0]
    if "not a git repository" in said:
        raise _NoRepository
    raise DataError(said)
