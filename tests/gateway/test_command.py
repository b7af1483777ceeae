"""The gateway by hand."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from bench import place
from core import daemon
from core.errors import TargetError
from pipelines import gateway
from rollout.targets import local


def test_up_route_and_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = place.settings(tmp_path)
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
