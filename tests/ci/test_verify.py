"""The approval pipeline's first job: an approval that is no longer what it was is refused, each time by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci import verify
from core.errors import AssayError, IntegrityError, RolloutError
from core.records import Verdict
from models import manifest
from tests.parts.memory_registry import MemoryRegistry
from tests.rollout import stage


class Shelf:
    """Version 2 was approved; its evidence passes."""

    def __init__(self, root: Path, evidence: Verdict = "pass") -> None:
        folders = {number: stage.version(root, f"v{number}") for number in (1, 2)}
        known = {number: (folder, manifest.digest(folder), evidence) for number, folder in folders.items()}
        self.registry, self.folder = MemoryRegistry(root / "registry.json", known), folders[2]
        self.digest = known[2][1]
        self.point("approved", 2)

    def point(self, alias: str, number: int | None) -> None:
        self.registry.path.write_text(json.dumps({alias: number}))

    def check(self) -> None:
        verify.check(self.registry, 2, self.digest)


def test_a_sound_version_passes(tmp_path: Path) -> None:
    Shelf(tmp_path).check()


def test_another_digest_than_the_approved_one(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="but 0000 was approved"):
        verify.check(Shelf(tmp_path).registry, 2, "0000")


@pytest.mark.parametrize(("now", "words"), [(1, "now points at version 1"), (None, "was removed")])
def test_an_approval_that_was_withdrawn(tmp_path: Path, now: int | None, words: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.point("approved", now)
    with pytest.raises(RolloutError, match=words):
        shelf.check()


@pytest.mark.parametrize("evidence", ["fail", "inconclusive"])
def test_evidence_that_is_no_pass(tmp_path: Path, evidence: Verdict) -> None:
    with pytest.raises(RolloutError, match=f"own evidence says {evidence}"):
        Shelf(tmp_path, evidence).check()


def test_a_file_that_changed_in_the_store(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    (shelf.folder / "weights.bin").write_bytes(b"other")
    with pytest.raises(IntegrityError, match=r"weights\.bin"):
        shelf.check()


def test_another_version_s_files_in_its_place(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    folder, digest, evidence = shelf.registry.versions[1]
    shelf.registry.versions[2] = (folder, shelf.digest, evidence)
    with pytest.raises(IntegrityError, match=f"holds manifest {digest[:12]}"):
        shelf.check()


def test_a_model_of_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stage.ROOT)
    with pytest.raises(AssayError, match="'other' was approved, this project's is 'assay'"):
        verify.main(["--model", "other", "--version", "1", "--digest", "0"])
