"""Gates and choice: every row of the table breaks one thing and says which gate must notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmarks.measure.figures import percentiles
from core import plugins
from core.records import Verdict
from drift.records import Limit, Metric
from evaluation.params import EvaluateParams
from selection import ranking
from selection.gates import Evidence, latency
from selection.gates.latency import MIN_P95_REQUESTS
from selection.params import SelectParams, SelectSettings, SloParams
from selection.records import GateResult
from tests.report import fixtures

EVALUATE = EvaluateParams(chunk_items=1, batch=1, alpha=0.05, margin_points=1, teacher_forced_items=1, metrics={})
SELECT = SelectParams(
    objective="throughput",
    compare_with="fp32",
    max_size_ratio=0.6,
    slo=SloParams(ttft_p95_ms=500, itl_p95_ms=50),
)


def changed(**changes: Any) -> SelectParams:
    return SELECT.model_copy(update=changes)


def verdicts(item: Evidence, select: SelectParams = SELECT) -> dict[str, str]:
    decision = fixtures.decided([fixtures.evidence("fp32"), item], select)
    return {gate.gate: gate.verdict for gate in decision.gates if gate.variant == item.variant}


def test_a_sound_variant_passes_every_gate_and_is_chosen_with_a_sentence() -> None:
    decision = fixtures.decided([fixtures.evidence(name) for name in fixtures.SHAPES], SELECT)
    assert decision.variant == "int8-static"
    assert decision.manifest_sha256 == fixtures.digest("int8-static")
    assert [name for name, _ in decision.ranking] == ["int8-static", "int8-weight", "fp16"]
    assert decision.sentence == (
        "Serve int8-static: 2.2x fp32's throughput at batch 16 (3,570 against 1,623 tok/s) at 30% of its size; "
        "it loses at most 0.92 points of accuracy against the original (97.5 % sure, 1,280 items, margin 1)."
    )


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_the_winner_of_many_is_served_only_if_fresh_items_confirm_it(verdict: Verdict) -> None:
    items = [fixtures.evidence(name) for name in fixtures.SHAPES]
    decision = fixtures.decided(items, SELECT, confirmed=verdict)
    assert decision.variant is None
    assert decision.ranking[0][0] == "int8-static"
    [gate] = [gate for gate in decision.gates if gate.gate == "confirmed"]
    assert (gate.variant, gate.verdict) == ("int8-static", verdict)
    assert "on 1,280 items that no gate has seen" in gate.why


def test_a_confirmation_of_another_version_confirms_nothing() -> None:
    items = [fixtures.evidence(name) for name in fixtures.SHAPES]
    due = ranking.to_confirm(items, SELECT, EVALUATE)
    again = fixtures.evaluation("int8-static")
    other = due.model_copy(update={"evaluation": again, "manifest_sha256": "f" * 64})
    for found in (due, other):
        decision = ranking.decide(items, SELECT, EVALUATE, found)
        assert decision.variant is None
        assert "run `dvc repro`" in decision.sentence


def test_recipes_that_share_alpha_are_judged_at_their_share() -> None:
    items = [fixtures.evidence(name) for name in fixtures.SHAPES]
    for alpha, shares, expected in ((0.25, 5, "int8-static"), (0.15, 3, None)):  # each was judged at 0.05
        shared = EVALUATE.model_copy(update={"many_recipes": "share_alpha", "alpha": alpha, "alpha_shares": shares})
        none_due = ranking.to_confirm(items, SELECT, shared)
        assert none_due.variant is None
        decision = ranking.decide(items, SELECT, shared, none_due)
        assert decision.variant == expected
    assert f"set evaluate.alpha_shares to {len(items)}" in decision.sentence


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "tampered folder": ({"manifest_sha256": None, "problem": "changed: model.onnx"}, "integrity", "fail"),
    "another folder": ({"manifest_sha256": "f" * 64}, "integrity", "fail"),
    "old benchmark": ({"benchmark": fixtures.benchmark("fp16", manifest_sha256="f" * 64)}, "integrity", "fail"),
    "old evaluation": ({"evaluation": fixtures.evaluation("fp16", manifest_sha256="f" * 64)}, "integrity", "fail"),
    "another runtime": ({"evaluation": fixtures.evaluation("fp16", runtime="torch")}, "integrity", "fail"),
    "drift": ({"evaluation": fixtures.evaluation("fp16", verdict="fail")}, "drift", "fail"),
    "undecided drift": ({"evaluation": fixtures.evaluation("fp16", verdict="inconclusive")}, "drift", "inconclusive"),
    "pass on no items": (
        {"evaluation": fixtures.evaluation("fp16", items=0, delta_points=None)},
        "drift",
        "inconclusive",
    ),
    "not evaluated here": (
        {"evaluation": fixtures.evaluation("fp16", status="not_measured_here", why_not_measured="needs a GPU")},
        "drift",
        "inconclusive",
    ),
    "evaluation failed": (
        {"evaluation": fixtures.evaluation("fp16", status="failed", why_not_measured="evaluate failed")},
        "drift",
        "fail",
    ),
    "benchmark failed": (
        {"benchmark": fixtures.benchmark("fp16", status="failed", why_not_measured="benchmark failed")},
        "benchmark",
        "fail",
    ),
    "no evaluation": ({"evaluation": None}, "drift", "inconclusive"),
    "no benchmark": ({"benchmark": None}, "benchmark", "inconclusive"),
    "not benchmarked here": (
        {"benchmark": fixtures.benchmark("fp16", status="not_measured_here", why_not_measured="needs a GPU")},
        "benchmark",
        "inconclusive",
    ),
    "no batch 1": (
        {"benchmark": fixtures.benchmark("fp16", workloads=[fixtures.workload(1.0, 8)])},
        "benchmark",
        "inconclusive",
    ),
    "another machine": (
        {"benchmark": fixtures.benchmark("fp16", machine=fixtures.MACHINE.model_copy(update={"threads": 64}))},
        "benchmark",
        "inconclusive",
    ),
    "slow": ({"benchmark": fixtures.benchmark("fp16", workloads=[fixtures.workload(0.01, 1)])}, "itl_p95", "fail"),
    "few samples": (
        {"benchmark": fixtures.benchmark("fp16", samples=MIN_P95_REQUESTS - 1)},
        "ttft_p95",
        "inconclusive",
    ),
    "big": ({"benchmark": fixtures.benchmark("fp16", artifact_mib=20.0)}, "size", "fail"),
}


@pytest.mark.parametrize(("changes", "gate", "verdict"), BROKEN.values(), ids=list(BROKEN))
def test_what_is_wrong_stops_the_variant_at_its_gate(changes: dict[str, Any], gate: str, verdict: str) -> None:
    item = fixtures.evidence("fp16", **changes)
    # Three witnesses, so that the machine of the one under test is the odd one out.
    others = [fixtures.evidence(name) for name in ("fp32", "int8-weight", "int8-static")]
    decision = fixtures.decided([*others, item], SELECT)
    result = next(one for one in decision.gates if one.variant == "fp16" and one.gate == gate)
    assert result.verdict == verdict
    assert result.why
    assert "fp16" not in [name for name, _ in decision.ranking]


def test_of_a_recipe_that_failed_one_gate_tells_why() -> None:
    """And not how little was measured of it; the size of what it made is not known, so nothing is held to it."""
    failed = Evidence("fp32", "ort", None, "quantize failed: ExportError: wrong", evaluation=None, benchmark=None)
    decision = fixtures.decided([failed, fixtures.evidence("fp16")], SELECT)
    assert [gate.why for gate in decision.gates if gate.variant == "fp32"] == ["quantize failed: ExportError: wrong"]
    assert decision.sentence.startswith("Serve none of them. fp32: integrity failed (quantize failed: ExportError: ")
    alone = fixtures.decided([failed, fixtures.evidence("fp16")], changed(max_size_ratio=None))
    assert alone.variant == "fp16"


def test_the_slo_holds_at_its_limit_and_breaks_above_it() -> None:
    measured = fixtures.benchmark("fp16").workloads[0]
    low, high = measured.ttft_ms.p95_low, measured.ttft_ms.p95_high
    assert low is not None
    assert high is not None
    around = ((high, "pass"), (high * 0.999, "inconclusive"), (low, "inconclusive"), (low * 0.999, "fail"))
    for limit, verdict in around:
        slo = SloParams(ttft_p95_ms=limit, itl_p95_ms=50)
        assert verdicts(fixtures.evidence("fp16"), changed(slo=slo))["ttft_p95"] == verdict


def judged(draws: list[float], limit_ms: float) -> GateResult:
    load = fixtures.workload(1.0, 1).model_copy(update={"ttft_ms": percentiles(draws, draws)})
    item = fixtures.evidence("fp16", benchmark=fixtures.benchmark("fp16", workloads=[load]))
    return latency.judge(item, [item], changed(slo=SloParams(ttft_p95_ms=limit_ms, itl_p95_ms=50)))[0]


def test_luck_with_few_requests_passes_no_slow_variant() -> None:
    """One request in ten above the limit: 2 in 1,000 pass at 59. Of 20, the estimate alone passed 39 in 100."""
    rng, runs = np.random.default_rng(12), 2000

    def waits(requests: int, above: float) -> NDArray[np.float64]:
        return np.where(rng.random((runs, requests)) < above, 2.0, 0.5)

    assert np.mean(np.percentile(waits(20, 0.1), 95, axis=1) <= 1) > 0.3
    assert np.mean([judged(draws.tolist(), 1.0).verdict == "pass" for draws in waits(59, 0.1)]) <= 0.01
    assert np.mean([judged(draws.tolist(), 1.0).verdict == "fail" for draws in waits(59, 0.04)]) <= 0.05
    assert np.mean([judged(draws.tolist(), 1.0).verdict == "pass" for draws in waits(59, 0.0)]) == 1


def test_too_few_requests_pass_nothing_and_name_the_setting() -> None:
    few, tied = judged([1.0] * 58, 2.0), judged([1.0] * 58 + [3.0], 2.0)
    assert (few.verdict, tied.verdict, judged([1.0] * 59, 2.0).verdict) == ("inconclusive", "inconclusive", "pass")
    assert few.why.endswith("58 requests, 59 are needed: benchmark.rounds: 5 or more")
    assert tied.why.endswith("59 requests, too few to tell: raise benchmark.rounds, each gives 12")
    assert judged([3.0] * 5, 2.0).verdict == "fail"  # five above are enough to tell


def limited(low: float | None, value: float | None, high: float | None, limit: Limit) -> Evidence:
    """fp16, with one metric that has a limit."""
    interval = {"low": low, "high": high, "level": None if low is None else 0.95}
    metric = {"name": "kl", "label": "KL", "group": "g", "unit": "nats", "counted": "tokens", "count": 9}
    one = Metric.model_validate(metric | interval | {"value": value, "limit": limit})
    return fixtures.evidence("fp16", evaluation=fixtures.evaluation("fp16", metrics=[one]))


@pytest.mark.parametrize(
    ("low", "value", "high", "at_most", "at_least"),
    [
        (0.1, 0.2, 0.3, "pass", "fail"),
        (0.4, 0.5, 0.6, "inconclusive", "inconclusive"),
        (0.6, 0.7, 0.8, "fail", "pass"),
        (None, 0.4, None, "pass", "fail"),
        (None, 0.6, None, "fail", "pass"),
        (None, None, None, "inconclusive", "inconclusive"),
    ],
)
def test_a_limit_is_judged_by_the_whole_interval(
    low: float | None, value: float | None, high: float | None, at_most: str, at_least: str
) -> None:
    for limit, verdict in ((Limit(at_most=0.5), at_most), (Limit(at_least=0.5), at_least)):
        decision = fixtures.decided([fixtures.evidence("fp32"), limited(low, value, high, limit)], SELECT)
        (result,) = [gate for gate in decision.gates if gate.gate == "kl"]
        assert (result.variant, result.verdict, result.limit, result.unit) == ("fp16", verdict, 0.5, "nats")
        assert ("fp16" in [name for name, _ in decision.ranking]) == (verdict == "pass")


def test_a_metric_without_a_limit_is_no_gate() -> None:
    names = {metric.name for metric in fixtures.evaluation("fp16").metrics}
    assert names
    assert not names & verdicts(fixtures.evidence("fp16")).keys()


def test_gates_come_in_one_order() -> None:
    orders = [plugins.load("selection.gates", name).ORDER for name in plugins.known("selection.gates")]
    assert len(set(orders)) == len(orders)
    item = limited(0.1, 0.2, 0.3, Limit(at_most=0.5))
    assert list(verdicts(item)) == [
        "integrity",
        "drift",
        "kl",
        "benchmark",
        "ttft_p95",
        "itl_p95",
        "size",
        "confirmed",
    ]


def test_without_a_recipe_to_compare_with_nothing_is_compared() -> None:
    items = [fixtures.evidence(name) for name in fixtures.SHAPES]
    alone = fixtures.decided(items, changed(compare_with=None, max_size_ratio=None))
    assert alone.sentence.startswith("Serve int8-static: 3,570 tok/s at batch 16, 8.6 MiB; it loses at most ")
    other = fixtures.decided(items, changed(compare_with="fp16"))
    assert other.sentence.startswith("Serve int8-static: 2.0x fp16's throughput at batch 16 (3,570 against 1,785")


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"compare_with": "fp23"}, "select.compare_with: no recipe 'fp23'; known: fp32, int8"),
        ({"compare_with": None, "max_size_ratio": 0.5}, "max_size_ratio needs compare_with"),
    ],
)
def test_a_recipe_to_compare_with_must_be_one(select: dict[str, Any], message: str) -> None:
    recipes = {name: {"quantizer": "none", "runtime": "torch", "options": {}} for name in ("fp32", "int8")}
    slo = {"ttft_p95_ms": 1, "itl_p95_ms": 1}
    asked = {"recipes": recipes, "select": {"objective": "size", "slo": slo, **select}}
    with pytest.raises(ValidationError, match=message):
        SelectSettings.model_validate(asked)


def test_the_size_gate_exists_only_with_a_limit_and_needs_fp32() -> None:
    assert "size" not in verdicts(fixtures.evidence("fp16"), changed(max_size_ratio=None))
    alone = fixtures.decided([fixtures.evidence("fp16")], SELECT)
    assert {gate.gate: gate.verdict for gate in alone.gates}["size"] == "inconclusive"


@pytest.mark.parametrize(
    ("objective", "best", "unit"),
    [("throughput", "int8-static", "tok/s"), ("latency", "int8-static", "ms"), ("size", "int8-static", "MiB")],
)
def test_each_objective_ranks_by_its_own_figure(objective: str, best: str, unit: str) -> None:
    select = changed(objective=objective, max_size_ratio=None)
    decision = fixtures.decided([fixtures.evidence(name) for name in fixtures.SHAPES], select)
    assert decision.variant == best
    assert decision.objective_unit == unit
    figures = [value for _, value in decision.ranking]
    assert figures == sorted(figures, reverse=objective == "throughput")
    assert decision.sentence.startswith(f"Serve {best}: ")


def test_none_passes_names_every_gate_and_variant() -> None:
    items = [
        fixtures.evidence("fp32", evaluation=fixtures.evaluation("fp32", verdict="fail", reason="lost 3 points")),
        fixtures.evidence("fp16", benchmark=None),
    ]
    decision = fixtures.decided(items, SELECT)
    assert decision.variant is None
    assert decision.manifest_sha256 is None
    assert decision.ranking == []
    assert "fp32: drift failed (lost 3 points)" in decision.sentence
    assert "fp16: integrity was inconclusive" in decision.sentence
    assert "benchmark was inconclusive" in decision.sentence


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pass", "fail", "inconclusive"]),
            st.floats(min_value=0.01, max_value=50),
            st.integers(min_value=0, max_value=60),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["throughput", "latency", "size"]),
)
def test_only_a_variant_whose_every_gate_passes_is_ever_chosen(
    worlds: list[tuple[str, float, int, bool]], objective: str
) -> None:
    select = changed(objective=objective, max_size_ratio=None)
    items = []
    for name, (verdict, speed, samples, same) in zip(fixtures.SHAPES, worlds, strict=False):
        record = fixtures.benchmark(name, workloads=[fixtures.workload(speed, b, samples) for b in (1, 16)])
        digest = fixtures.digest(name) if same else "0" * 64
        evaluation = fixtures.evaluation(name, verdict=verdict)
        items.append(fixtures.evidence(name, manifest_sha256=digest, benchmark=record, evaluation=evaluation))
    decision = fixtures.decided(items, select)
    clean = {
        name
        for name, (verdict, _, samples, same) in zip(fixtures.SHAPES, worlds, strict=False)
        if verdict == "pass" and same and samples >= MIN_P95_REQUESTS
    }
    stopped = {gate.variant for gate in decision.gates if gate.verdict != "pass"}
    assert (decision.variant is None) == (not decision.ranking)
    assert {name for name, _ in decision.ranking} <= clean - stopped
    assert {item.variant for item in items} == stopped | {name for name, _ in decision.ranking}
    if decision.variant:
        assert decision.variant == decision.ranking[0][0]
        assert decision.manifest_sha256 == fixtures.digest(decision.variant)
    assert (
        fixtures.decided(items[::-1], select).ranking == decision.ranking
    )  # the order of the recipes does not decide
