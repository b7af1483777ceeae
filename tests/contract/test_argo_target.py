"""What only Argo Rollouts does to a target, and its analysis in PromQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest

from core.errors import TargetError
from rollout.params import AnalysisPhase
from rollout.targets import argo
from rollout.targets.cluster import promql
from tests.contract.test_targets import LIMITS, Place, cluster, on_argo
from tests.parts import kube_argo
from tests.parts.kube import Cluster
from tests.rollout.stage import settings


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Cluster, Place]]:
    """Version 1 live on blue, version 2 ready on green, Argo waiting for a promotion."""
    with cluster(tmp_path) as (found, base):
        found.controllers.append(kube_argo.controller)
        for wanted in argo.manifests(settings(**LIMITS), base.one):
            found.put(f"{wanted['apiVersion']}/{wanted['kind'].lower()}s", wanted)
        place = Place(lambda: argo.connect(settings(**LIMITS)), base.one, base.two)
        place.wait(lambda seen: seen.live == "blue" and seen.slots["blue"].ready)
        place.target.start("green", place.two)
        place.wait(lambda seen: seen.slots["green"].ready)
        kube_argo.until_paused(found)
        yield found, place


def _rollout(found: Cluster) -> dict[str, object]:
    status: dict[str, object] = found.objects[kube_argo.ROLLOUTS]["assay"]["status"]
    return status


def test_a_preview_waits_until_it_is_promoted(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    assert place.target.observe().live == "blue"
    notes = found.objects[kube_argo.ROLLOUTS]["assay"]["metadata"]["annotations"]
    assert (notes["assay/digest"], notes["assay/baseline"]) == (place.two.digest, place.one.digest)
    assert place.target.switch("green") == 2
    assert place.target.switch("blue") == 3, "Argo counts going back as a new revision"
    place.wait(lambda seen: seen.slots["green"].ready)


def test_a_promotion_under_way_does_not_arrive_after_going_back(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    found.never_ready.add(place.two.digest)  # Argo holds the switch back until the pods are ready
    hurried = argo.connect(settings(timeouts={"call_s": 0.4}))
    with pytest.raises(TargetError, match="has not made green active"):
        hurried.switch("green")
    place.target.switch("blue")
    assert _rollout(found)["abort"] is True
    found.never_ready.clear()
    place.wait(lambda seen: seen.slots["green"].empty)
    assert place.target.observe().live == "blue"


def test_an_aborted_preview_is_started_again(pair: tuple[Cluster, Place]) -> None:
    _, place = pair
    place.target.stop("green", 1)
    place.wait(lambda seen: seen.slots["green"].empty)
    place.target.start("green", place.two)
    place.wait(lambda seen: seen.slots["green"].ready)
    assert place.target.switch("green") >= 2


def test_argos_own_verdict_is_told(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    rollout = found.objects[kube_argo.ROLLOUTS]["assay"]
    run = {"name": "assay-2-pre", "status": "Failed", "message": "errors"}
    green = rollout["status"]["blueGreen"] | {"prePromotionAnalysisRunStatus": run}
    found.put(kube_argo.ROLLOUTS, rollout | {"status": rollout["status"] | {"blueGreen": green}})
    assert "Argo's analysis assay-2-pre is Failed: errors" in place.target.observe().problems


def test_without_a_rollout_it_says_what_to_apply(tmp_path: Path) -> None:
    with on_argo(tmp_path) as place, pytest.raises(TargetError, match=r"python -m rollout\.targets\.argo"):
        place.target.start("blue", place.one)


def test_the_manifests_hold_together(tmp_path: Path) -> None:
    with on_argo(tmp_path) as place:
        wanted = argo.manifests(settings(**LIMITS), place.one)
    kinds = [(one["kind"], one["metadata"]["name"]) for one in wanted]
    assert kinds == [
        ("AnalysisTemplate", "assay-before"), ("AnalysisTemplate", "assay-after"),
        ("Service", "assay"), ("Service", "assay-preview"), ("Rollout", "assay"),
    ]  # fmt: skip
    strategy = wanted[-1]["spec"]["strategy"]["blueGreen"]
    sides = ("prePromotionAnalysis", "postPromotionAnalysis")
    named = [strategy[side]["templates"][0]["templateName"] for side in sides]
    assert [("AnalysisTemplate", name) for name in named] == kinds[:2]
    for one in wanted[2:4]:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    pod = {"apiVersion": "v1", "kind": "Pod", **wanted[-1]["spec"]["template"]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    metrics = {metric["name"]: metric for metric in wanted[0]["spec"]["metrics"]}
    assert "errors" in metrics
    assert "answers" not in metrics, "Prometheus cannot ask questions"
    phase = settings().rollout.before
    assert (metrics["errors"]["count"], metrics["errors"]["failureLimit"]) == (phase.count, phase.failure_limit)


def test_a_condition_as_promql() -> None:
    phase = AnalysisPhase(interval_s=30, min_requests=20, success_condition={"errors": "error_rate <= 0.01"})
    requests = 'sum(increase(assay_requests_total{digest="{{args.digest}}"}[30s]))'
    errors = 'sum(increase(assay_requests_total{digest="{{args.digest}}",code=~"5.."}[30s])) or vector(0)'
    rate = f"scalar(({errors}) / {requests})"
    assert promql.query("error_rate <= 0.01", phase) == (
        f"vector(((({rate} <= bool 0.01)) + 0 * {rate}) / ((scalar({requests}) >= bool 20)))"
    )


def test_a_bound_as_promql_looks_at_the_whole_phase_and_is_unknown_only_without_requests() -> None:
    phase = AnalysisPhase(interval_s=10, count=6, success_condition={"x": "requests > 0"})
    own = '{digest="{{args.digest}}"}'
    low, high = (promql._figure(f"ttft_p95_{end}_ms", phase) for end in ("low", "high"))
    for sign, figure in (("-", low), ("+", high)):
        assert figure == (
            f"scalar(1000 * histogram_quantile(scalar(0.95 {sign} 0.4638 / "
            f"sqrt(sum(increase(assay_ttft_seconds_count{own}[60s])))), "
            f"sum by (le) (increase(assay_ttft_seconds_bucket{own}[60s]))))"
        )
    assert f" + 0 * {promql._figure('ttft_p95_ms', phase)})" in promql.query("ttft_p95_high_ms <= 5", phase)


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("error_rate <= baseline_error_rate + 0.01", (0.02, 0.005), False),
        ("error_rate <= max(2 * baseline_error_rate, 0.05)", (0.02, 0.005), True),
        ("not error_rate > min(baseline_error_rate, 0.5)", (0.02, 0.005), False),
        ("0 <= error_rate < 1 and baseline_error_rate != 3 or error_rate == 7", (0.02, 0.005), True),
        ("-error_rate < baseline_error_rate / 2", (0.02, 0.005), True),
    ],
)
def test_the_translation_means_the_same(text: str, values: tuple[float, float], holds: bool) -> None:
    """PromQL's scalar arithmetic is Python's, but for `bool`: so with figures put in, Python can work it out."""
    phase = AnalysisPhase(interval_s=30, success_condition={"x": text})
    arithmetic = promql.query(text, phase).split(" + 0 * ")[0].removeprefix("vector((")
    for name, value in zip(("error_rate", "baseline_error_rate"), values, strict=True):
        arithmetic = arithmetic.replace(promql._figure(name, phase), str(value))
    assert bool(eval(arithmetic.replace(" bool", ""), {"__builtins__": {}})) is holds
