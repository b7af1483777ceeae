from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.items import Prepared
from evaluation import systems
from evaluation.answers import Answers
from evaluation.decoding import Decoding, Sampled, Side, seed_of
from evaluation.systems import System
from runtimes import Generation
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")

DECODING = Decoding(max_tokens=made.MAX_TOKENS, batch=16, chunk_items=20)
SAMPLED = replace(DECODING, sampled=Sampled(temperature=0.6, top_p=0.95, top_k=0, samples=3))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANNED_LOG", str(tmp_path / "log"))
    (tmp_path / "log").write_text("")
    return tmp_path / "log"


def calls(log: Path) -> int:
    return len(log.read_text().splitlines())


def answers_of(
    system: System, rows: Sequence[Prepared], root: Path, decoding: Decoding = DECODING, side: Side = "variant"
) -> Answers:
    return Answers(system, side, rows, decoding, root)


def test_answers_are_made_once_and_only_as_far_as_asked(tmp_path: Path, tiny_qwen2: Path, log: Path) -> None:
    rows = made.rows(tiny_qwen2, 50)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    answers = answers_of(system, rows, tmp_path / "cache")
    first, last = answers.chunk(0), answers.chunk(2)
    assert (len(first), len(last)) == (20, 10)
    assert calls(log) == 2 + 1  # batches of 16: 16 + 4, and 10
    assert len(list(answers.folder.iterdir())) == 2
    assert answers_of(system, rows, tmp_path / "cache").chunk(0) == first
    assert all(isinstance(one, Generation) and isinstance(one.token_ids, tuple) for [one] in first)
    assert calls(log) == 3


def test_more_items_find_the_chunks_of_fewer(tmp_path: Path, tiny_qwen2: Path, log: Path) -> None:
    rows = made.rows(tiny_qwen2, 60)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    fewer = answers_of(system, rows[:40], tmp_path / "cache")
    kept = [fewer.chunk(0), fewer.chunk(1)]
    asked = calls(log)
    more = answers_of(system, rows, tmp_path / "cache")
    assert [more.chunk(0), more.chunk(1)] == kept
    assert calls(log) == asked
    more.chunk(2)
    assert calls(log) == asked + 2


def test_a_spoilt_chunk_is_made_again(
    tmp_path: Path, tiny_qwen2: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.rows(tiny_qwen2, 20)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    answers = answers_of(system, rows, tmp_path / "cache")
    first = answers.chunk(0)
    [path] = answers.folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert answers.chunk(0) == first
    assert calls(log) == 4
    assert "made again" in capsys.readouterr().err


def test_another_model_limit_batch_or_draw_is_another_folder(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2, 20)
    one = systems.version(made.version(tmp_path / "one", tiny_qwen2, rows), 1, "v")
    two = systems.version(made.version(tmp_path / "two", tiny_qwen2, rows, wrong=0.5), 1, "v")
    renamed = systems.version(tmp_path / "one", 1, "another label")
    assert SAMPLED.sampled is not None
    hotter = replace(SAMPLED, sampled=replace(SAMPLED.sampled, temperature=1.0))
    keys = [
        answers_of(one, rows, tmp_path).key,
        answers_of(two, rows, tmp_path).key,
        answers_of(one, rows, tmp_path, replace(DECODING, max_tokens=5)).key,
        answers_of(one, rows, tmp_path, replace(DECODING, batch=5)).key,
        answers_of(one, rows, tmp_path, SAMPLED).key,
        answers_of(one, rows, tmp_path, SAMPLED, "reference").key,
        answers_of(one, rows, tmp_path, replace(SAMPLED, seed=1)).key,
        answers_of(one, rows, tmp_path, hotter).key,
    ]
    assert len(set(keys)) == 8
    assert answers_of(renamed, rows, tmp_path).key == keys[0]
    greedy = answers_of(one, rows, tmp_path, replace(DECODING, seed=1), "reference")
    assert greedy.key == keys[0], "a greedy answer has neither a seed nor a side"


@pytest.mark.parametrize("change", ["id", "prompt", "order"])
def test_another_item_prompt_or_order_is_another_file(
    tmp_path: Path, tiny_qwen2: Path, log: Path, change: str
) -> None:
    rows = made.rows(tiny_qwen2, 4)
    system = systems.version(made.version(tmp_path / "v", tiny_qwen2, rows), 1, "v")
    answers_of(system, rows, tmp_path / "cache").chunk(0)
    first, *others = rows
    changed = {
        "id": [replace(first, item=first.item.model_copy(update={"id": "other"})), *others],
        "prompt": [replace(first, prompt_ids=rows[1].prompt_ids), *others],
        "order": [*others, first],
    }[change]
    answers = answers_of(system, changed, tmp_path / "cache")
    answers.chunk(0)
    assert calls(log) == 2
    assert len(list(answers.folder.iterdir())) == 2


def test_the_reference_is_keyed_by_its_files_without_loading_it(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2, 4)
    system = systems.original(tiny_qwen2, 1)
    assert {"torch", "transformers", "dtype"} <= system.facts.keys()
    assert len(answers_of(system, rows, tmp_path).key) == 64
    assert system._runtime is None
    system.close()


def test_sampled_answers_come_by_item_with_their_seeds_kept(tmp_path: Path, tiny_qwen2: Path) -> None:
    rows = made.rows(tiny_qwen2, 30)
    system = systems.original(tiny_qwen2, 1)
    first = answers_of(system, rows, tmp_path, SAMPLED, "reference").chunk(1)
    assert [len(answers) for answers in first] == [3] * 10
    assert sum(len(set(answers)) > 1 for answers in first) > 5, "samples of one item differ"
    [path] = answers_of(system, rows, tmp_path, SAMPLED, "reference").folder.iterdir()
    kept = pq.read_table(path).to_pylist()
    wanted = [(row.item.id, sample) for row in rows[20:] for sample in range(3)]
    assert [(row["item_id"], row["sample"]) for row in kept] == wanted
    assert [row["seed"] for row in kept] == [seed_of(0, "reference", *one) for one in wanted]
    # Each is the answer that its prompt and its seed give alone: nothing was mixed up between the batches.
    assert SAMPLED.sampled is not None
    for index in (0, 13, 29):
        item, sample = divmod(index, 3)
        [alone] = system.runtime.generate(
            [rows[20 + item].prompt_ids], made.MAX_TOKENS, sampling=[SAMPLED.sampled.with_seed(kept[index]["seed"])]
        )
        assert alone == first[item][sample]
    assert answers_of(system, rows, tmp_path / "other", SAMPLED, "reference").chunk(1) == first, (
        "made again, the same"
    )
    assert answers_of(system, rows, tmp_path, SAMPLED, "variant").chunk(1) != first, "with seeds of its own"
    system.close()


def test_seeds_differ_by_run_side_item_and_sample() -> None:
    seeds = {
        seed_of(run, side, f"item-{item}", sample)
        for run in (0, 1)
        for side in ("reference", "variant")
        for item in range(50)
        for sample in range(4)
    }
    assert len(seeds) == 800
    assert all(0 <= seed < 2**31 for seed in seeds), "what every runtime takes"
    assert sum(seed > 2**30 for seed in seeds) / 800 == pytest.approx(0.5, abs=0.1)
