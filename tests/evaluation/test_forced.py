from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import RuntimeFault
from drift import divergence
from drift.divergence import TokenScores
from evaluation import forced, systems
from evaluation.systems import System
from models import families
from runtimes import Generation
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")


@pytest.fixture
def torch_system(tiny_qwen2: Path) -> System:
    return systems.original(tiny_qwen2, 1)


def test_the_positions_compared_are_those_that_chose_the_answer(
    tmp_path: Path, tiny_qwen2: Path, torch_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In real torch the likeliest token at every compared position is the one that greedy decoding had chosen."""
    rows = made.rows(tiny_qwen2, 6)
    answers = torch_system.runtime.generate([row.prompt_ids for row in rows], 20)
    seen: list[bool] = []
    score = divergence.score

    def spy(reference: Any, variant: Any, tokens: Any) -> TokenScores:
        assert len(reference) == len(tokens)
        seen.extend(reference.argmax(axis=1) == np.asarray(tokens))
        return score(reference, variant, tokens)

    monkeypatch.setattr(divergence, "score", spy)
    width = families.read(tiny_qwen2).vocabulary
    scores = forced.compare(torch_system, torch_system, rows, answers, 4, width, tmp_path)
    assert len(seen) == sum(len(answer.token_ids) for answer in answers) > 50
    assert np.mean(seen) > 0.99  # but for near ties between a prefill and a decode step
    assert [len(one.kl) for one in scores] == [len(answer.token_ids) for answer in answers]


def test_large_vocabularies_get_smaller_batches_and_the_same_scores(
    tmp_path: Path, tiny_qwen2: Path, torch_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.rows(tiny_qwen2, 6)
    answers = [Generation((5, 6, 7), True)] * 5 + [Generation((), True)]  # an empty answer has no position
    width = families.read(tiny_qwen2).vocabulary
    whole = forced.compare(torch_system, torch_system, rows, answers, 8, width, tmp_path / "whole")
    monkeypatch.setattr(forced, "MAX_BATCH_MIB", 0)
    single = forced.compare(torch_system, torch_system, rows, answers, 8, width, tmp_path / "single")
    assert len(list((tmp_path / "whole").iterdir())) == 1
    assert len(list((tmp_path / "single").iterdir())) == len(whole) == len(single) == 5
    for one, other in zip(whole, single, strict=True):
        np.testing.assert_allclose(one.nll_variant, other.nll_variant, atol=1e-4)


def test_what_is_kept_is_what_was_scored_and_a_spoilt_file_is_made_again(
    tmp_path: Path, tiny_qwen2: Path, torch_system: System
) -> None:
    rows = made.rows(tiny_qwen2, 3)
    answers = [Generation((5, 6, 7 + index), True) for index in range(3)]
    width = families.read(tiny_qwen2).vocabulary

    def compare() -> list[TokenScores]:
        return forced.compare(torch_system, torch_system, rows, answers, 2, width, tmp_path)

    first, kept = compare(), compare()
    (path, *_) = sorted(tmp_path.iterdir())
    path.write_bytes(b"half a file")
    for again in (kept, compare()):
        for one, other in zip(first, again, strict=True):
            assert one.nll_reference.tolist() == other.nll_reference.tolist()
    assert forced.compare(torch_system, torch_system, rows[:0], [], 2, width, tmp_path) == []


@pytest.mark.parametrize("change", ["prompt", "answer"])
def test_what_is_kept_of_another_prompt_or_answer_is_not_taken(
    tmp_path: Path, tiny_qwen2: Path, torch_system: System, change: str
) -> None:
    """Under the same item: a suite was edited, or a sampled answer came out otherwise."""
    rows, answers = made.rows(tiny_qwen2, 2), [Generation((5, 6, 7), True)] * 2
    width = families.read(tiny_qwen2).vocabulary
    first = forced.compare(torch_system, torch_system, rows, answers, 2, width, tmp_path)
    if change == "prompt":
        rows = [replace(rows[0], prompt_ids=rows[1].prompt_ids), rows[1]]
    else:
        answers = [Generation((5, 8, 7), True), answers[1]]
    again = forced.compare(torch_system, torch_system, rows, answers, 2, width, tmp_path)
    assert first[0].nll_reference.tolist() != again[0].nll_reference.tolist()


def test_a_variant_that_overflows_is_named_with_its_item(
    tmp_path: Path, tiny_qwen2: Path, torch_system: System
) -> None:
    rows = made.rows(tiny_qwen2, 2)
    folder = made.version(tmp_path / "v", tiny_qwen2, rows, noise=float("inf"))
    variant, width = systems.version(folder, 1, "int8"), families.read(tiny_qwen2).vocabulary
    with pytest.raises(RuntimeFault, match="item item-0, int8: the variant gave a logit that is not a finite number"):
        forced.compare(torch_system, variant, rows, [Generation((5,), True)] * 2, 2, width, tmp_path / "forced")
