"""The project in a checkout of its own, and GitLab's pipelines on it: gitlab-ci-local runs the real .gitlab-ci.yml.

gitlab-ci-local and the node that it needs are pinned in tests/ci/package-lock.json. Jobs run as shell commands here;
`tags`, `image`, `resource_group` and `cache` are GitLab's matter and have no effect.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import sha256_file

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
INSTALLED = ROOT / ".cache" / "gitlab-ci-local"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.safetensors")
PROJECT = "group/assay"
NEEDED = (".gitlab-ci.yml", "ci", "Makefile", "requirements.lock", "requirements-gpu.lock", ".gitignore")


@dataclass(frozen=True)
class Checkout:
    """A git repository with what a runner would clone."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def commit(self) -> None:
        """Everything that is there."""
        own = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        _git(self.folder, "add", "--all")
        _git(self.folder, *own, "commit", "--quiet", "--allow-empty", "--message", "test")

    def jobs(self, **variables: str) -> dict[str, dict[str, Any]]:
        """The jobs of the pipeline that these variables start, by name; without those that it leaves out."""
        done = self._start(["--list-json"], variables, keep=True)
        assert done.returncode == 0, done.stderr
        listed = json.loads(done.stdout)
        return {job["name"]: job for job in listed if job["when"] != "never"}

    def run(self, variables: Mapping[str, str], *jobs: str, isolated: bool = False) -> str:
        """Run jobs (all but the manual ones when none is named), which must pass, and return their log. `isolated`:
        each in a copy of the checkout, as on machines of their own."""
        options = ["--shell-isolation"] if isolated else []
        done = self._start([*options, *jobs], variables)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def _start(
        self, arguments: Iterable[str], variables: Mapping[str, str], keep: bool = False
    ) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in variables.items() for part in ("--variable", f"{name}={value}")]
        own = ["--home", str(self.folder.parent / "home")]  # not the variables of whoever runs the tests
        command = ["gitlab-ci-local", *own, "--force-shell-executor", "--ignore-predefined-vars", ",".join(variables)]
        return subprocess.run(
            [*command, "--no-color", "--no-artifacts-to-source", "--concurrency", "2", *given, *arguments],
            cwd=self.folder, env=_environment(), text=True, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE if keep else subprocess.STDOUT,
        )  # fmt: skip


def checkout(folder: Path, *names: str) -> Checkout:
    """The CI files and what they call, and `names` (files or folders) of this project, committed."""
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "remote", "add", "origin", f"git@gitlab.example.com:{PROJECT}.git")
    for name in (*NEEDED, *names):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, target)  # with its time: make compares the lock's with the environment's
    ready = ROOT / ".venv" / ".ready"
    assert ready.stat().st_mtime >= (ROOT / "requirements.lock").stat().st_mtime, ".venv is old: run `make setup`"
    (folder / ".venv").symlink_to(ROOT / ".venv")  # a link is not what .gitignore's /.venv/ means: jobs get it
    found = Checkout(folder)
    found.commit()
    _git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")  # from which the default branch is read
    _git(folder, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    return found


def environments(production: Path) -> tuple[Path, Path]:
    """What `make setup` and `make setup-gpu` would put into ci/production's folder; making them takes minutes."""
    own, gpu = (
        production / "environments" / sha256_file(ROOT / lock)[:16]
        for lock in ("requirements.lock", "requirements-gpu.lock")
    )
    (gpu / "bin").mkdir(parents=True)
    (gpu / ".ready").touch()
    own.symlink_to(ROOT / ".venv")
    return own, gpu


def programs() -> Path:
    """The folder with gitlab-ci-local and node, installed from the lock at the first call."""
    wanted = sha256_file(HERE / "package-lock.json")
    bin_folder, done = INSTALLED / "node_modules" / ".bin", INSTALLED / "installed"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == wanted:
            return bin_folder
        assert shutil.which("npm"), "npm is missing: apt-get install npm"
        assert shutil.which("rsync"), "rsync is missing: apt-get install rsync"
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, INSTALLED)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        made = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr[-2000:]
        done.write_text(wanted)
    return bin_folder


def _environment() -> dict[str, str]:
    """Of a runner: nothing of ours but where programs and packages come from."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG", "LC_"))}
    return kept | {
        "PATH": f"{programs()}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(Path.home()),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
