"""Conditions, windows, quantiles and verdicts: pure functions against figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, TargetError
from pipelines import params
from rollout import analysis
from rollout.analysis import Answers, Figures, Measurement, measure, quantile, verdict, window
from rollout.condition import NAMES, PAIRED, Condition, Missing
from rollout.params import AnalysisPhase
from rollout.record import Progress
from rollout.scrape import sample
from rollout.targets import Sample
from serving.metrics import Metrics
from tests.rollout.stage import ROOT

FIGURES: dict[str, float | None] = {
    "error_rate": 0.02,
    "requests": 50,
    "baseline_error_rate": 0.01,
    "itl_p95_ms": None,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("error_rate <= 0.02", True),
        ("error_rate <= baseline_error_rate + 0.005", False),
        ("0 < error_rate < 0.03 and requests >= 50", True),
        ("not error_rate > 0.5 or requests < 1", True),
        ("max(error_rate, 0.1) == 0.1", True),
        ("-error_rate * 2 / 4 < min(0, requests) - 0.005", True),
    ],
)
def test_a_condition_is_arithmetic_and_comparison(text: str, holds: bool) -> None:
    assert Condition(text).holds(FIGURES) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0", "error_rate.__class__ == 1", "open('x') < 1", "eval('1') < 2",
        "latency < 5", "error_rate", "1 + 2", "error_rate <=", "error_rate in [1, 2]", "(lambda: 1)() < 2",
        "error_rate ** 99999 < 1", "[error_rate for error_rate in (1,)] == 1", "max(error_rate) < 1",
        "error_rate < 'a'", "error_rate if requests else 0 < 1", "(error_rate := 1) < 2", "True < error_rate", "",
    ],
)  # fmt: skip
def test_nothing_else_is_let_in(text: str) -> None:
    with pytest.raises(ConfigError):
        Condition(text)


def test_missing_data_never_hides_behind_an_or() -> None:
    with pytest.raises(Missing, match="no itl_p95_ms"):
        Condition("error_rate < 1 or itl_p95_ms < 5").holds(FIGURES)
    with pytest.raises(Missing):
        Condition("error_rate / (requests - 50) < 1").holds(FIGURES)


def test_the_shipped_conditions_are_sound() -> None:
    rollout = params.load(ROOT / "params.yaml").rollout
    for phase in (rollout.before, rollout.after):
        for text in phase.success_condition.values():
            assert Condition(text).names <= set(NAMES)
    absolute = [text for text in rollout.before.success_condition.values() if "baseline_" not in text]
    assert absolute, "a first version, with nothing to compare it with, still has to pass something"


def test_a_phase_in_which_nothing_has_to_succeed_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing has to succeed"):
        AnalysisPhase(count=3, failure_limit=1, inconclusive_limit=2, success_condition={"a": "requests > 0"})


def test_a_window_is_the_difference_of_two_samples_of_one_process() -> None:
    first = Sample(0, "p1", 100, 10, 5, 0, {10.0: 100, 20.0: 100, math.inf: 100})
    last = Sample(9, "p1", 300, 20, 5, 50, {10.0: 100, 20.0: 300, math.inf: 300})
    found = window(first, last)
    assert found["requests"] == 200
    assert (found["error_rate"], found["empty_rate"], found["truncated_rate"]) == (0.05, 0, 0.25)
    assert found["ttft_p95_ms"] == pytest.approx(19.5)
    assert found["itl_p95_ms"] is None
    assert set(window(first, Sample(9, "p2", 300)).values()) == {None}, "another process counts from zero"
    assert set(window(Sample(0, None), Sample(9, None)).values()) == {None}


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    bounds = [5.0, 10.0, 20.0, 40.0, math.inf]
    found = quantile({bound: sum(value <= bound for value in values) for bound in bounds}, share)
    true = sorted(values)[math.ceil(share * len(values)) - 1]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max([0.0, *(bound for bound in bounds if bound < upper)])
    assert found is not None
    assert lower <= found <= upper


def test_beyond_the_last_bucket_is_its_bound_and_no_data_is_none() -> None:
    assert quantile({10.0: 0, math.inf: 5}, 0.95) == 10.0
    assert quantile({10.0: 0, math.inf: 0}, 0.95) is None
    assert quantile({}, 0.95) is None


def _timed(times_ms: list[float], slot: str = "p1") -> Sample:
    """A sample whose histogram has a bound for each millisecond."""
    cumulative = {float(bound): sum(time <= bound for time in times_ms) for bound in range(1, 201)}
    return Sample(1.0, slot, len(times_ms), ttft_ms=cumulative | {math.inf: len(times_ms)})


def test_bounds_of_a_p95_are_order_statistics() -> None:
    """Of 1 to 100 ms: P(Bin(100, 0.95) <= 88) is 0.43 % and P(<= 89) 1.15 %; P(>= 100) is 0.59 %, P(>= 99) 3.7 %."""
    nothing = Sample(0.0, "p1")
    found = analysis.p95_bounds(nothing, _timed([float(ms) for ms in range(1, 101)]), looks=10)
    assert (found["ttft_p95_low_ms"], found["ttft_p95_high_ms"]) == pytest.approx((89, 100))
    assert (found["itl_p95_low_ms"], found["itl_p95_high_ms"]) == (None, None), "nothing was counted"
    few = analysis.p95_bounds(nothing, _timed([5.0] * 20), looks=6)
    assert few["ttft_p95_high_ms"] == math.inf, "20 requests may all lie below the true p95"
    assert few["ttft_p95_low_ms"] == pytest.approx(4.8, abs=0.2)
    assert analysis.p95_bounds(nothing, _timed([5.0]), looks=6)["ttft_p95_low_ms"] == 0
    beyond = analysis.p95_bounds(nothing, _timed([500.0] * 200), looks=6)
    assert (beyond["ttft_p95_low_ms"], beyond["ttft_p95_high_ms"]) == (200, math.inf), "beyond the last bucket"
    assert set(analysis.p95_bounds(nothing, _timed([5.0] * 100, "p2"), looks=6).values()) == {None}


def test_a_bound_covers_the_true_p95_at_all_looks_together() -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(400):
        times = [float(ms) for ms in rng.uniform(0, 200, 240)]
        looks = [analysis.p95_bounds(Sample(0.0, "p1"), _timed(times[: 40 * n]), looks=6) for n in range(1, 7)]
        wrong += any((look["ttft_p95_low_ms"] or 0) > 190 for look in looks)
    assert 0.01 < wrong / 400 < analysis.P95_ALPHA, "it can be wrong, and is rarely"


def test_an_infinite_bound_is_kept_and_never_a_failure_by_itself() -> None:
    phase = _phase(success_condition={"ttft": "ttft_p95_low_ms <= 2 * baseline_ttft_p95_high_ms"})
    own: Figures = {"requests": 30, "ttft_p95_low_ms": 9.0}
    baseline: Figures = {"requests": 30, "ttft_p95_high_ms": math.inf}
    taken = measure(phase, 1.0, own, baseline)
    assert taken.checks["ttft"].outcome == "Successful", "not shown slower"
    progress = Progress(taken=(taken,), baseline=baseline)
    assert Progress.model_validate_json(progress.model_dump_json()) == progress
    with pytest.raises(Missing, match="infinite"):
        Condition("itl_p95_high_ms - ttft_p95_high_ms < 1").holds(
            dict.fromkeys(("itl_p95_high_ms", "ttft_p95_high_ms"), math.inf)
        )


def _asked(right: int, count: int, first: int = 0) -> Answers:
    return Answers.of({str(at): at - first < right for at in range(first, first + count)})


def test_answers_are_compared_question_by_question() -> None:
    phase = AnalysisPhase(success_condition={"x": "requests > 0"})
    live = Answers.of({"a": True, "b": True, "c": False, "d": None, "e": True})
    own = Answers.of({"a": True, "b": None, "c": True, "d": True, "f": False})
    assert (own.asked, own.answered, own.right) == (5, 4, 3)
    found = analysis.paired(phase, own, live)
    assert found["right_change"] == 0, "a kept, b lost as it was not answered, c won; d, e and f compare nothing"
    equal = analysis.paired(phase, _asked(170, 240), _asked(170, 240))
    assert equal["right_change_low"] is not None
    assert -0.03 < equal["right_change_low"] < 0 < (equal["right_change_high"] or 0)
    worse = analysis.paired(phase, _asked(130, 240), _asked(170, 240))
    assert worse["right_change_high"] is not None
    assert worse["right_change_high"] < -0.02
    assert set(analysis.paired(phase, _asked(3, 3), _asked(3, 3, first=3)).values()) == {None}


def test_without_answers_of_the_live_slot_a_change_is_skipped_and_said() -> None:
    phase = _phase(success_condition={"answers": "right_change_high >= -0.02", "errors": "error_rate <= 0.01"})
    own: Figures = {"error_rate": 0.0, "requests": 100}
    for baseline, why in ((None, "no version was live"), ({}, "was asked nothing before the switch")):
        taken = measure(phase, 1.0, own, baseline, "no version was live")
        assert taken.checks["answers"].outcome == "Skipped"
        found, said = verdict(phase, [taken] * 3)
        assert found == "pass"
        assert why in said
    unknown = measure(phase, 1.0, own | dict.fromkeys(PAIRED), {})
    assert unknown.checks["answers"].outcome == "Inconclusive", "asked, but nothing can be compared"


def test_a_record_from_before_answers_were_kept_one_by_one_is_readable() -> None:
    old = (
        '{"own_answers": {"asked": 8, "answered": 8, "right": 7}, "baseline": {"ttft_p95_ms": 9.5, "right_share": 1}}'
    )
    found = Progress.model_validate_json(old)
    assert found.own_answers.by_question == {}
    assert analysis.shares(found.own_answers)["right_share"] == 7 / 8


def _phase(**changes: Any) -> AnalysisPhase:
    base: dict[str, Any] = {
        "count": 3, "failure_limit": 0, "inconclusive_limit": 1, "min_requests": 20,
        "success_condition": {"errors": "error_rate <= 0.01", "answers": "right_share >= baseline_right_share - 0.1"},
    }  # fmt: skip
    return AnalysisPhase.model_validate(base | changes)


def _measured(phase: AnalysisPhase, error_rate: float | None, requests: float = 100, right: int = 9) -> Measurement:
    own: Figures = {"error_rate": error_rate, "requests": requests}
    own |= analysis.shares(Answers(asked=10, answered=10, right=right))
    return measure(phase, 1.0, own, analysis.shares(Answers(asked=10, answered=10, right=9)))


def test_verdicts() -> None:
    phase = _phase()
    good, bad, few = _measured(phase, 0.0), _measured(phase, 0.5), _measured(phase, 0.0, requests=19)
    assert verdict(phase, [good, good])[0] is None
    assert verdict(phase, [good, good, good])[0] == "pass"
    assert verdict(phase, [bad])[0] == "fail", "at once, not at the end"
    assert verdict(_phase(failure_limit=1), [bad, good, good])[0] == "pass"
    assert verdict(phase, [few, good, good])[0] == "pass", "one inconclusive one is tolerated"
    found, why = verdict(phase, [few, few])
    assert found == "inconclusive"
    assert "19 requests, 20 are needed" in why
    found, why = verdict(phase, [good, _measured(phase, 0.0, right=7)])
    assert found == "fail"
    assert "right_share 0.7" in why, "fast and wrong is caught"


def test_no_data_at_all_is_inconclusive() -> None:
    phase = _phase()
    nothing = measure(phase, 1.0, {}, {})
    assert {check.outcome for check in nothing.checks.values()} == {"Inconclusive"}
    assert verdict(phase, [nothing, nothing])[0] == "inconclusive"


def test_without_a_baseline_only_what_needs_one_is_skipped() -> None:
    phase = _phase()
    alone = measure(phase, 1.0, {"error_rate": 0.0, "requests": 100}, None, "no version was live")
    found, why = verdict(phase, [alone] * 3)
    assert found == "pass"
    assert "skipped, no version was live: answers" in why
    only = _phase(success_condition={"errors": "error_rate <= baseline_error_rate"})
    assert verdict(only, [measure(only, 1.0, {"error_rate": 0.0}, None)] * 3)[0] == "inconclusive"


def test_a_slots_own_metrics_become_a_sample() -> None:
    served = Metrics("d" * 64, "blue")
    for code, endpoint in ((200, "chat"), (200, "completions"), (503, "chat"), (499, "chat"), (429, "chat")):
        served.request(code, endpoint)
    for kind in ("ok", "empty", "truncated", "truncated"):
        served.answer(kind, 5, 5)
    served.times(10.0, [10.003, 10.0045, 10.0075])
    found = sample(served.text(lambda: 0).decode(), 7.0, "p1")
    assert (found.requests, found.errors, found.empty, found.truncated) == (5, 1, 1, 2)
    assert found.ttft_ms[5.0] == 1
    assert found.ttft_ms[2.0] == 0
    assert (found.itl_ms[1.0], found.itl_ms[2.0], found.itl_ms[math.inf]) == (0, 1, 2)
    with pytest.raises(TargetError, match="cannot be read"):
        sample("assay_requests_total{", 7.0, "p1")
