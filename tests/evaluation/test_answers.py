from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import systems
from evaluation.answers import Answers, Decoding
from runtimes import Generation
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")

DECODING = Decoding(max_tokens=made.MAX_TOKENS, batch=16, chunk_items=20)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANNED_LOG", str(tmp_path / "log"))
    (tmp_path / "log").write_text("")
    return tmp_path / "log"


def calls(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_answers_are_made_once_and_only_as_far_as_asked(tmp_path: Path, tiny_qwen2: Path, log: Path) -> None:
    rows = made.rows(tiny_qwen2, 50)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    answers = Answers(system, rows, DECODING, tmp_path / "cache")
    first, last = answers.chunk(0), answers.chunk(2)
    assert (len(first), len(last)) == (20, 10)
    assert calls(log) == 2 + 1  # batches of 16: 16 + 4, and 10
    assert sorted(path.name for path in answers.folder.iterdir()) == ["chunk-00000.parquet", "chunk-00002.parquet"]
    again = Answers(system, rows, DECODING, tmp_path / "cache")
    assert again.chunk(0) == first
    assert all(isinstance(one, Generation) and isinstance(one.token_ids, tuple) for one in first)
    assert calls(log) == 3


def test_a_spoilt_chunk_is_made_again(
    tmp_path: Path, tiny_qwen2: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.rows(tiny_qwen2, 20)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    answers = Answers(system, rows, DECODING, tmp_path / "cache")
    first = answers.chunk(0)
    path = answers.folder / "chunk-00000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert answers.chunk(0) == first
    assert calls(log) == 4
    assert "made again" in capsys.readouterr().err


def test_another_model_item_limit_or_batch_is_another_folder(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2, 20)
    one = systems.version(made.version(tmp_path / "one", tiny_qwen2, rows), 1, "v")
    two = systems.version(made.version(tmp_path / "two", tiny_qwen2, rows, wrong=0.5), 1, "v")
    renamed = systems.version(tmp_path / "one", 1, "another label")
    keys = [
        Answers(one, rows, DECODING, tmp_path).key,
        Answers(two, rows, DECODING, tmp_path).key,
        Answers(one, rows[1:], DECODING, tmp_path).key,
        Answers(one, rows, replace(DECODING, max_tokens=5), tmp_path).key,
        Answers(one, rows, replace(DECODING, batch=5), tmp_path).key,
    ]
    assert len(set(keys)) == 5
    assert Answers(renamed, rows, DECODING, tmp_path).key == keys[0]


def test_the_reference_is_keyed_by_its_files_without_loading_it(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2, 4)
    system = systems.original(tiny_qwen2, 1)
    assert {"torch", "transformers", "dtype"} <= system.facts.keys()
    assert len(Answers(system, rows, DECODING, tmp_path).key) == 64
    assert system._runtime is None
    system.close()
