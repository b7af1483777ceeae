"""The gateway as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from core.errors import TargetError
from gateway.params import RateLimitParams
from host import daemon
from pipelines import gateway
from rehearsal import local_target
from rollout.targets import Version, local


def test_up_route_and_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = local_target.settings(tmp_path)
    try:
        gateway.main(["up"], settings)
        gateway.main(["up"], settings)  # the one that runs is found
        shown = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (shown["live"], shown["generation"]) == (None, 1)
        assert httpx.get(f"{shown['url']}/v1/models").json()["error"]["code"] == "no_live_slot"
    finally:
        gateway.main(["down", "--grace-s", "1"], settings)
    assert not daemon.find_all(local.tags(settings))
    with pytest.raises(TargetError, match="does not answer"):
        gateway.main(["route"], settings)
    observed = local.connect(settings).observe()
    assert observed.live is None
    assert "pipelines.gateway up" in observed.problems[0]


def test_a_restart_takes_new_settings_and_keeps_the_route(
    tmp_path: Path, versions: tuple[Version, Version], capsys: pytest.CaptureFixture[str]
) -> None:
    with local_target.stack(tmp_path / "s") as (settings, target):
        local.up(settings, versions[0])
        slot, before = target.slots["blue"].process, target.gateway.observed()
        limited = settings.rollout.options("local").model_copy(update={"rate_limit": RateLimitParams(requests=1)})
        changed = settings.model_copy(
            update={"rollout": settings.rollout.model_copy(update={"targets": {"local": limited}})}
        )
        gateway.main(["restart"], changed)
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["generation"] == before.generation
        assert target.slots["blue"].process == slot
        body = {"text": "1 2", "max_tokens": 4}
        answers = [httpx.post(f"{target.gateway.url}/predict", json=body, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
