"""What only Kubernetes does to a target: conflicts, time-outs, 410, lazy endpoints, restarts, replicas."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml

from core.errors import ConfigError, TargetError
from rollout.targets import kubernetes
from rollout.targets.cluster import deployment
from tests.contract.test_targets import LIMITS, Place, cluster
from tests.parts.kube import TOKEN, Cluster
from tests.rollout.stage import ROOT, settings

FOLDER = ROOT / "deploy" / "kubernetes" / "rollout"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Cluster, Place]]:
    """Version 1 live on blue, version 2 ready on green."""
    with cluster(tmp_path) as (found, place):
        place.target.start("blue", place.one)
        place.target.start("green", place.two)
        place.wait(lambda seen: all(state.ready for state in seen.slots.values()))
        place.target.switch("blue")
        yield found, place


def test_a_switch_meets_other_writers_and_wins_once(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    found.conflicts = 3
    before = place.target.observe().generation
    assert before is not None
    assert place.target.switch("green") == before + 1
    assert found.conflicts == 0
    found.conflicts = 2
    place.target.mirror("blue", 10)
    assert place.target.observe().mirrored == "blue"


def test_a_watch_that_is_too_old_lists_again(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    found.frozen_endpoints = True
    found.expired = 3
    thaw = threading.Timer(0.3, lambda: setattr(found, "frozen_endpoints", False))
    thaw.start()
    place.target.switch("green")
    thaw.join()
    assert found.expired == 0


def test_endpoints_that_do_not_follow_are_not_called_a_switch(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    found.frozen_endpoints = True
    with pytest.raises(TargetError, match="endpoints of service 'assay' are not green's pods after 2 s"):
        place.target.switch("green")
    place.target.switch("blue")  # and what was given but not taken cannot arrive later
    found.frozen_endpoints = False
    assert place.target.observe().live == "blue"


def test_no_answer_is_a_target_error_in_time(pair: tuple[Cluster, Place]) -> None:
    found, _ = pair
    hurried = kubernetes.connect(settings(timeouts={"call_s": 0.2}))
    found.slow = 1
    with pytest.raises(TargetError, match=r"no answer in 0\.2 s"):
        hurried.observe()
    assert hurried.observe().live == "blue"


def test_a_wrong_token_and_no_cluster_at_all(pair: tuple[Cluster, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KUBE_TOKEN", "wrong")
    with pytest.raises(TargetError, match="401 Unauthorized"):
        kubernetes.connect(settings(**LIMITS)).observe()
    monkeypatch.delenv("ASSAY_KUBE_URL")
    with pytest.raises(ConfigError, match="ASSAY_KUBE_URL"):
        kubernetes.connect(settings(**LIMITS))


def test_a_token_that_the_kubelet_replaced_is_read_again(
    pair: tuple[Cluster, Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.delenv("ASSAY_KUBE_TOKEN")
    monkeypatch.setenv("ASSAY_KUBE_TOKEN_FILE", str(file))
    target = kubernetes.connect(settings(**LIMITS))
    assert target.observe().live == "blue"
    file.write_text("expired")
    with pytest.raises(TargetError, match="401 Unauthorized"):
        target.observe()
    file.unlink()
    with pytest.raises(TargetError, match="No such file"):
        target.observe()
    file.write_text(TOKEN)
    assert target.observe().live == "blue"


def test_a_restarted_container_is_another_process(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    before = place.target.observe().slots["green"].identity
    pod = next(pod for pod in found.all("v1/pods", slot="green"))
    found.put("v1/pods", pod | {"status": pod["status"] | {"containerStatuses": [{"restartCount": 1}]}})
    assert place.target.observe().slots["green"].identity != before
    assert place.target.sample("green").identity != before


def test_a_slot_with_one_pod_of_two_ready_is_not_ready(tmp_path: Path) -> None:
    with cluster(tmp_path) as (found, place):
        target = kubernetes.connect(settings(targets={"kubernetes": {"replicas": 2}}, **LIMITS))
        target.start("blue", place.one)
        place.wait(lambda seen: seen.slots["blue"].ready)
        assert len(found.all("v1/pods", slot="blue")) == 2
        assert target.sample("blue").requests > 0
        found.never_ready.add(place.two.digest)
        target.start("green", place.two)
        place.wait(lambda seen: not seen.slots["green"].empty)
        time.sleep(5 * found.ready_after_s)
        assert not target.observe().slots["green"].ready


def test_other_filters_of_the_route_stay(pair: tuple[Cluster, Place]) -> None:
    found, place = pair
    kind = "gateway.networking.k8s.io/v1/httproutes"
    route = found.objects[kind]["assay"]
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}
    rule = route["spec"]["rules"][0] | {"filters": [header]}
    found.put(kind, route | {"spec": route["spec"] | {"rules": [rule]}})
    place.target.mirror("green", 25)
    filters = found.objects[kind]["assay"]["spec"]["rules"][0]["filters"]
    assert [part["type"] for part in filters] == ["RequestHeaderModifier", "RequestMirror"]
    assert filters[1]["requestMirror"] == {"backendRef": {"name": "assay-green", "port": 8000}, "percent": 25}
    place.target.mirror(None, 0)
    assert found.objects[kind]["assay"]["spec"]["rules"][0]["filters"] == [header]


def test_every_manifest_fits_kubernetes_own_schema(tmp_path: Path) -> None:
    with cluster(tmp_path) as (_, place):
        wanted = deployment.render(
            "slot.yaml.jinja", kubernetes.Options(), settings(**LIMITS).rollout, slot="blue", version=place.one
        )
    for file in ("services.yaml", "rbac.yaml"):
        wanted += yaml.safe_load_all((FOLDER / file).read_text())
    for one in wanted:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*listed, "kustomization.yaml"}
