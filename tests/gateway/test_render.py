"""The configuration as pure values, and Envoy's own opinion of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigError
from gateway import render
from gateway.envoy import Gateway
from gateway.settings import Route, Settings

SETTINGS = Settings(folder=Path("state"), port=9000, blue_port=9001, green_port=9002)


def _action(route: Route, number: int = 1) -> render.Json:
    found: render.Json = render.routes_resource(route)["virtual_hosts"][0]["routes"][number]
    return found


def test_all_requests_go_to_the_live_slot_and_streams_are_not_timed() -> None:
    action = _action(Route(7, "green"))["route"]
    assert action["weighted_clusters"]["clusters"] == [
        {"name": "blue", "weight": 0},
        {"name": "green", "weight": 10000},
    ]
    assert action["timeout"] == "0s"
    assert "request_mirror_policies" not in action
    assert "5xx" not in action["retry_policy"]["retry_on"], "an answer that was begun is never asked for twice"


def test_a_share_of_requests_may_go_to_the_other_slot() -> None:
    clusters = _action(Route(7, "green", other_percent=12.5))["route"]["weighted_clusters"]["clusters"]
    assert {cluster["name"]: cluster["weight"] for cluster in clusters} == {"blue": 1250, "green": 8750}


def test_mirrors_have_their_own_cluster_with_a_limit() -> None:
    action = _action(Route(7, "green", "blue", 0.5))["route"]
    [policy] = action["request_mirror_policies"]
    assert policy["cluster"] == "blue-mirror"
    assert policy["runtime_fraction"]["default_value"] == {"numerator": 5000, "denominator": "MILLION"}
    limits = {
        cluster["name"]: cluster["circuit_breakers"]["thresholds"][0]["max_requests"]
        for cluster in render.cluster_resources(SETTINGS)
    }
    assert limits["blue-mirror"] == limits["green-mirror"] == SETTINGS.max_mirrored
    assert limits["blue"] == limits["green"] == render.UNLIMITED


def test_without_a_live_slot_the_answer_is_503_with_retry_after() -> None:
    answer = _action(Route(1))
    assert answer["direct_response"]["status"] == 503
    assert "retry-after" in {header["header"]["key"] for header in answer["response_headers_to_add"]}


def test_every_kind_of_route_is_one_that_envoy_accepts(tmp_path: Path) -> None:
    gateway = Gateway(SETTINGS.model_copy(update={"folder": tmp_path}))
    gateway.write()
    gateway.validate()


def test_what_envoy_refuses_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "CONNECT_S", "soon")
    gateway = Gateway(SETTINGS.model_copy(update={"folder": tmp_path}))
    with pytest.raises(ConfigError, match="connect_timeout"):
        gateway.start()
    assert gateway.process is None


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different ports"):
        Settings(folder=tmp_path, port=9000, blue_port=9000, green_port=9002)
    with pytest.raises(ValueError, match="shorter path"):
        Settings(folder=tmp_path / ("x" * 100), port=9000, blue_port=9001, green_port=9002)
