"""A file's digest is asked again and again and read once; whatever changed is read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from core import files, paths
from core.errors import DataError
from host import digests

LONG_AGO_NS = 1_700_000_000_000_000_000


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read, in order."""
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    real, names = files.sha256_file, []

    def counted(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(files, "sha256_file", counted)
    return names


def _write(path: Path, text: str, changed_ns: int = LONG_AGO_NS) -> Path:
    path.write_text(text)
    os.utime(path, ns=(changed_ns, changed_ns))
    return path


def test_an_unchanged_file_is_read_once_and_a_touched_one_again(tmp_path: Path, read: list[str]) -> None:
    one, two = _write(tmp_path / "one", "1"), _write(tmp_path / "two", "2")
    first = digests.of([two, one])
    assert first == {str(one): files.sha256_bytes(b"1"), str(two): files.sha256_bytes(b"2")}
    assert digests.of([one, two]) == first
    assert read == ["one", "two"]
    os.utime(one, ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    assert digests.of([one, two]) == first
    assert read == ["one", "two", "one"]


def test_a_change_of_the_same_size_is_seen(tmp_path: Path, read: list[str]) -> None:
    file = _write(tmp_path / "one", "1")
    before = digests.of([file])
    _write(file, "2", LONG_AGO_NS + 1)
    assert digests.of([file]) != before
    _write(tmp_path / "other", "3", LONG_AGO_NS + 1).replace(file)  # size and time as they were: another inode
    assert digests.of([file]) == {str(file): files.sha256_bytes(b"3")}


def test_what_was_written_a_moment_ago_is_read_again(tmp_path: Path, read: list[str]) -> None:
    """Its clock may not have ticked since: the next write of that size would look the same."""
    now = time.time_ns()
    file = _write(tmp_path / "one", "1", now)
    digests.of([file])
    _write(file, "2", now)
    assert digests.of([file]) == {str(file): files.sha256_bytes(b"2")}


def test_a_damaged_store_costs_time_alone(tmp_path: Path, read: list[str]) -> None:
    file = _write(tmp_path / "one", "1")
    digests.of([file])
    (paths.CACHE / digests.KEPT).write_text("{")
    assert digests.of([file]) == {str(file): files.sha256_bytes(b"1")}


def test_a_folder_is_every_file_that_a_user_put_there(tmp_path: Path, read: list[str]) -> None:
    folder = tmp_path / "tasks"
    for name in ("a.yaml", "inner/b.py", "__pycache__/b.pyc", "inner/__pycache__/b.pyc", ".git/HEAD", ".a.swp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, name)
    assert list(digests.below(folder)) == [str(folder / "a.yaml"), str(folder / "inner/b.py")]
    assert list(digests.below(folder / "a.yaml")) == [str(folder / "a.yaml")]


def test_what_cannot_be_read_is_named(tmp_path: Path, read: list[str]) -> None:
    with pytest.raises(DataError, match=r"nothing cannot be read \(No such file or directory\): check its path"):
        digests.below(tmp_path / "nothing")


@pytest.mark.slow
def test_15_gb_are_hashed_once_and_then_cost_less_than_a_second(tmp_path: Path, read: list[str]) -> None:
    shards = [tmp_path / f"model-{number:05}-of-00006.safetensors" for number in range(1, 7)]
    for shard in shards:
        shard.touch()
        os.truncate(shard, 2_500_000_000)  # a hole: no space on the disk, the same to read
        os.utime(shard, ns=(LONG_AGO_NS, LONG_AGO_NS))
    first = digests.of(shards)
    begun = time.monotonic()
    assert digests.of(shards) == first
    assert time.monotonic() - begun < 1
    assert len(read) == len(shards)
