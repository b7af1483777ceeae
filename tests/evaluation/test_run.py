from __future__ import annotations

import math
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
from evaluation.decoding import Decoding, Sampled
from evaluation.params import EvaluateParams
from evaluation.plan import EvaluationPlan
from evaluation.records import Evaluation
from models import tokenizer
from tests.evaluation import made

pytestmark = pytest.mark.usefixtures("canned")


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ATTEMPTS", str(tmp_path / "attempts"))


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
    decoding = Decoding(made.MAX_TOKENS, asked.batch, asked.chunk_items)
    return EvaluationPlan("v", margin_points, asked, metrics.choose(asked.metrics, {}), decoding, 1, claim="v")


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
    return run.compare(asked, both[0], both[1], rows, [], words, tmp_path / "cache")


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
    assert "stopped early, a verdict within the budget is unlikely, about 900 items" in run.reason(
        plan(), look, made.BUDGET
    )
    spent = run.reason(plan(), look.model_copy(update={"items": made.BUDGET}), made.BUDGET)
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


def test_where_the_original_is_hardly_ever_right_nothing_passes(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    """Case 1 and 2: both sides alike, and no loss could have been seen. It is told after the first chunk."""
    found, _ = compare(tmp_path, tiny_qwen2, rows, plan(), {"wrong": 0.98}, {"wrong": 0.98})
    assert (found.verdict, found.items) == ("inconclusive", 64)
    assert "of suite 'reasoning', less than 20% shows no loss" in found.reason
    assert "generation.max_tokens" in found.reason
    assert [reply.suite for reply in found.reference_replies] == ["reasoning"] * 3
    assert "boxed{0}" in found.reference_replies[0].reply


def test_a_loss_that_was_seen_is_one_whatever_the_original_is_like(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    found, _ = compare(tmp_path, tiny_qwen2, rows, plan(chunk_items=256), {"wrong": 0.8}, {"wrong": 1.0})
    assert found.verdict == "fail"


def test_the_page_is_told_what_the_test_could_have_said(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    found, _ = compare(tmp_path, tiny_qwen2, rows, plan(), {"wrong": 0.1}, {"wrong": 0.1})
    assert {one.budget_items for one in found.power} == {made.BUDGET}
    chances = [one.pass_if_equal for one in found.power]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.5 > chances[-1]


def test_another_attempt_goes_on_with_what_the_last_one_lost(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    """The same recipe judged on other items; on the same ones it is the same attempt."""
    first, _ = compare(tmp_path, tiny_qwen2, rows[:128], plan(), {"wrong": 0.1}, {"wrong": 0.12, "seed": 1.0})
    again, _ = compare(tmp_path, tiny_qwen2, rows[:128], plan(), {"wrong": 0.1}, {"wrong": 0.12, "seed": 1.0})
    assert first.verdict != "pass"
    assert (again.attempt, again.earlier_wealth, again.looks) == (1, 1.0, first.looks)
    other, _ = compare(tmp_path, tiny_qwen2, rows[128:], plan(), {"wrong": 0.1}, {"wrong": 0.12, "seed": 1.0})
    assert other.attempt == 2
    assert other.earlier_wealth == pytest.approx(min(1.0, math.exp(first.looks[-1].log_wealth)))


def test_a_larger_budget_goes_on_with_the_same_bets(tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]) -> None:
    small, _ = compare(tmp_path, tiny_qwen2, rows[:128], plan(2.0), {"wrong": 0.1}, {"wrong": 0.1, "seed": 1.0})
    large, _ = compare(tmp_path, tiny_qwen2, rows, plan(2.0), {"wrong": 0.1}, {"wrong": 0.1, "seed": 1.0})
    fields = {"low_points", "high_points", "log_wealth"}
    before = [look.model_dump(include=fields) for look in small.looks]
    assert [look.model_dump(include=fields) for look in large.looks[: len(before)]] == before
    assert (large.attempt, large.items_budget) == (1, made.BUDGET)
    fresh, _ = compare(
        tmp_path / "new",
        tiny_qwen2,
        rows,
        replace(plan(2.0), claim="another"),
        {"wrong": 0.1},
        {"wrong": 0.1, "seed": 1.0},
    )
    assert fresh.looks[1].log_wealth != large.looks[1].log_wealth  # bets that aim at another deadline


def test_a_cluster_is_one_item(tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]) -> None:
    """Eight questions of one source: 256 rows are 32 items, which is too few for what 256 would show."""
    clustered = [
        replace(row, item=row.item.model_copy(update={"cluster": str(number // 8)}))
        for number, row in enumerate(rows)
    ]
    found, done = compare(tmp_path, tiny_qwen2, clustered, plan(chunk_items=60), {"wrong": 0.1}, {"wrong": 0.1})
    assert (found.items_budget, found.items, len(done)) == (32, 32, 256)
    assert [look.items for look in found.looks] == [7, 15, 22, 30, 32]  # a cluster counts once it is whole
    assert found.verdict == "inconclusive"


def test_sampled_answers_are_compared_by_item_and_kept_by_sample(
    tmp_path: Path, tiny_qwen2: Path, rows: list[Prepared]
) -> None:
    asked = plan(chunk_items=16)
    decoding = replace(asked.decoding, max_tokens=8, sampled=Sampled(1.0, 0.95, 0, samples=3))
    sampled = replace(asked, decoding=decoding)
    words = tokenizer.load(tiny_qwen2)
    both = systems.original(tiny_qwen2, 1), systems.original(tiny_qwen2, 1)
    found, done = run.compare(sampled, *both, rows[:16], [], words, tmp_path / "cache")
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
