from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import plugins
from data.items import Prepared
from drift import metrics
from drift.metrics import Pair
from drift.records import Look
from evaluation import pairs, run, systems
from evaluation.decoding import Sampled
from evaluation.params import EvaluateParams
from evaluation.records import Evaluation
from evaluation.run import EvaluationPlan
from models import tokenizer
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")


@pytest.fixture(scope="module")
def rows(tiny_qwen2: Path) -> list[Prepared]:
    return made.rows(tiny_qwen2)


def plan(margin_points: float = 3.0, chunk_items: int = 64) -> EvaluationPlan:
    asked = EvaluateParams(
        chunk_items=chunk_items,
        batch=32,
        alpha=0.05,
        margin_points=margin_points,
        teacher_forced_items=50,
        metrics={name: {} for name in plugins.known("drift.metrics")},
    )
    return EvaluationPlan("v", margin_points, asked, metrics.choose(asked.metrics), made.MAX_TOKENS, 1, made.BUDGET)


def compare(
    tmp_path: Path,
    model: Path,
    rows: list[Prepared],
    asked: EvaluationPlan,
    one: dict[str, float],
    other: dict[str, float],
) -> tuple[Evaluation, list[Pair]]:
    words = tokenizer.load(model)
    folders = [made.version(tmp_path / name, model, rows, **how) for name, how in (("ref", one), ("v", other))]  # type: ignore[arg-type] # seed is an int
    both = [systems.version(folder, 1, folder.name) for folder in folders]
    return run.compare(asked, both[0], both[1], rows, words.answer, words.rows, tmp_path / "cache")


def test_equal_systems_pass_with_every_figure_at_its_ideal(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    found, done = compare(tmp_path, tiny_qwen2, rows, plan(), {"wrong": 0.1}, {"wrong": 0.1})
    assert (found.verdict, found.status) == ("pass", "measured")
    assert found.items < made.BUDGET
    assert found.items == len(done) == found.looks[-1].items
    figures = {metric.name: metric for metric in found.metrics}
    assert (figures["answers_lost"].value, figures["answers_gained"].value) == (0, 0)
    assert found.delta_points is not None
    assert found.delta_points.low > -3.0
    assert found.delta_points.level == pytest.approx(0.90)
    assert found.accuracy_reference == found.accuracy_variant
    assert figures["identical_answers"].value == 1.0
    assert (figures["truncated"].reference, figures["truncated"].value) == (0.0, 0.0)
    assert figures["kl_max_nats"].value == 0.0
    assert figures["top1_agreement"].value == 1.0
    assert figures["top1_agreement"].count == sum(len(one.reference.answers[0].token_ids) for one in done[:50])
    assert {task.task: task.items for task in found.by_task} == {"add": len(done) // 2, "subtract": len(done) // 2}


def test_a_worse_variant_fails_and_its_flips_are_shown(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    found, done = compare(tmp_path, tiny_qwen2, rows, plan(), {"wrong": 0.0}, {"wrong": 0.4, "noise": 0.3})
    assert found.verdict == "fail"
    assert found.items == 64  # one look is enough
    assert found.delta_points is not None
    assert found.delta_points.high < -3.0
    figures = {metric.name: metric for metric in found.metrics}
    assert figures["answers_lost"].value == sum(one.variant.share_right == 0 for one in done)
    assert found.flip_examples[0].direction == "lost"
    assert "boxed{0}" in found.flip_examples[0].variant_text
    assert f"boxed{{{found.flip_examples[0].answer}}}" in found.flip_examples[0].reference_text
    assert (figures["kl_mean_nats"].low or 0.0) > 0.0
    assert "larger than the margin" in found.reason


def test_a_close_call_is_inconclusive_and_says_what_it_takes(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    one, other = {"wrong": 0.05, "seed": 1.0}, {"wrong": 0.05, "seed": 2.0}
    found, _ = compare(tmp_path, tiny_qwen2, rows, plan(margin_points=1.0), one, other)
    assert found.verdict == "inconclusive"
    assert found.items_to_settle is not None
    assert found.items_to_settle > found.items
    assert f"{found.items_to_settle:,} items would settle it" in found.reason


def test_an_open_verdict_says_whether_items_were_left() -> None:
    """Futile at the last look too: then nothing was stopped early."""
    look = Look(items=128, delta_points=0, low_points=-5, high_points=5, is_futile=True, items_to_settle=900)
    assert "stopped early, a verdict within the budget is unlikely, about 900 items" in run.reason(plan(), look)
    spent = run.reason(plan(), look.model_copy(update={"items": made.BUDGET}))
    assert "the budget is spent" in spent
    assert "early" not in spent


def test_every_answer_is_kept(tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]) -> None:
    found, done = compare(tmp_path, tiny_qwen2, rows, plan(), {"wrong": 0.1}, {"wrong": 0.1, "seed": 3.0})
    pairs.save(tmp_path / "v.parquet", done)
    kept = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert [row["item_id"] for row in kept] == [row.item.id for row in rows[: found.items]]
    assert found.accuracy_variant is not None
    assert sum(row["variant_right"] for row in kept) / len(kept) == pytest.approx(found.accuracy_variant.value)
    assert all(row["reference_text"].startswith("so</think>") for row in kept)
    pairs.save(tmp_path / "none.parquet", [])
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_the_result_does_not_depend_on_how_prompts_were_batched(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    """Prompts are sorted by length inside a chunk; the answers must come back to their own items."""
    _, done = compare(tmp_path, tiny_qwen2, rows, plan(chunk_items=100), {"wrong": 0.0}, {"wrong": 0.0})
    assert all(one.reference.share_right == one.variant.share_right == 1 for one in done)


def test_sampled_answers_are_compared_by_item_and_kept_by_sample(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    sampled = replace(plan(chunk_items=16), sampled=Sampled(1.0, 0.95, 0, samples=3), budget=16, max_tokens=8)
    words = tokenizer.load(tiny_qwen2)
    both = systems.original(tiny_qwen2, 1), systems.original(tiny_qwen2, 1)
    found, done = run.compare(sampled, *both, rows[:16], words.answer, words.rows, tmp_path / "cache")
    assert (found.items, len(done)) == (16, 16)
    assert {len(side.answers) for one in done for side in (one.reference, one.variant)} == {3}
    assert all(one.reference.answers != one.variant.answers for one in done), "each side with seeds of its own"
    figures = {metric.name: metric for metric in found.metrics}
    assert figures["top1_agreement"].count == sum(len(one.reference.answers[0].token_ids) for one in done)
    pairs.save(tmp_path / "v.parquet", done)
    kept = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert [(row["item_id"], row["sample"]) for row in kept] == [
        (row.item.id, i) for row in rows[:16] for i in range(3)
    ]
    assert kept[1]["variant_ids"] == list(done[0].variant.answers[1].token_ids)
