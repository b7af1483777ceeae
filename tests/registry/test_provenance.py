"""Provenance of a project: its commit, whether it was changed, and the digest of its lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from core.errors import DataError
from registry import provenance


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def lock(root: Path, **stages: object) -> None:
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_outside_a_repository_nothing_is_claimed(tmp_path: Path) -> None:
    found = provenance.read(tmp_path)
    assert found == provenance.Provenance(git_commit=None, git_dirty=None, dvc_lock_sha256=None)


def test_where_git_fails_the_tree_is_not_called_clean(tmp_path: Path) -> None:
    """As in a clone that another user owns, where git refuses to answer."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".git" / "config").write_text("[core\n")
    found = provenance.read(tmp_path)
    assert (found.git_commit, found.git_dirty) == (None, None)
    assert "bad config" in str(found.git_problem)


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert provenance.read(tmp_path).git_problem
    assert provenance.read(tmp_path).git_commit is None


def test_variables_that_point_to_another_repository_are_not_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "other"):
        git_folder = tmp_path / name
        git_folder.mkdir()
        git(git_folder, "init", "-q")
        git(git_folder, "commit", "-q", "--allow-empty", "-m", name)
    commit = git(tmp_path / "own", "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert provenance.read(tmp_path / "own").git_commit == commit


def test_the_commit_and_whether_it_was_changed_are_told_apart_from_the_lock(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    lock(tmp_path, export={"cmd": "x"})
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    lock(tmp_path, export={"cmd": "y"})
    assert (provenance.read(tmp_path).git_commit, provenance.read(tmp_path).git_dirty) == (commit, False)
    (tmp_path / "code.py").write_text("a = 2\n")
    assert provenance.read(tmp_path).git_dirty


def test_the_lock_digest_names_what_was_made_not_who_tells_it(tmp_path: Path) -> None:
    lock(tmp_path, export={"outs": [1]}, select={"outs": [2]})
    before = provenance.lock_sha256(tmp_path / "dvc.lock")
    lock(tmp_path, select={"outs": [2]}, export={"outs": [1]}, report={"outs": [3]}, register={"outs": [4]})
    assert provenance.lock_sha256(tmp_path / "dvc.lock") == before
    lock(tmp_path, export={"outs": [9]}, select={"outs": [2]})
    assert provenance.lock_sha256(tmp_path / "dvc.lock") != before


@pytest.mark.parametrize("content", ["", "schema: '2.0'\n", "stages: [a]\n", "a: [\n"])
def test_a_broken_lock_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(DataError, match=r"dvc\.lock is not a DVC lock file"):
        provenance.lock_sha256(tmp_path / "dvc.lock")
