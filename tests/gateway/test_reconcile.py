"""A gateway or a live slot that died is started again as it was; what was ended on purpose is not."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pipelines import reconcile
from rehearsal import local_target
from rollout.questions import asker
from rollout.record import RolloutRecord, Who
from rollout.session import Session
from rollout.targets import Version, local
from tests.parts.memory_registry import MemoryRegistry


def test_envoy_killed_under_a_live_slot(tmp_path: Path, versions: tuple[Version, Version]) -> None:
    with local_target.stack(tmp_path / "s") as (settings, target):
        record, who = RolloutRecord(tmp_path / "rollout.db"), Who("tester")
        registry = MemoryRegistry(tmp_path / "registry.json", {1: (versions[0].folder, versions[0].digest, "pass")})

        def run(*argv: str) -> tuple[int, list[dict[str, Any]]]:
            lines: list[str] = []

            def opened(options: argparse.Namespace) -> Session:
                return Session(settings, record, target, registry, who, asker(settings), options.json, lines.append)

            return reconcile.main([*argv, "--json"], opened=opened), [json.loads(line) for line in lines]

        local.up(settings, versions[0])
        assert run() == (0, [])
        generation = target.gateway.observed().generation
        envoy = target.gateway.process
        assert envoy is not None
        envoy.signal(signal.SIGKILL)
        assert envoy.wait(5)
        code, said = run("--dry")
        assert (code, said[0]["problem"]) == (1, True)
        assert target.gateway.process is None
        code, [found] = run()
        assert (code, found["problem"]) == (0, False)
        assert found["what"] == f"had ended; started again, blue is live (generation {generation})"
        answer = httpx.get(f"{target.gateway.url}/v1/models", trust_env=False)
        assert answer.headers["x-assay-manifest"] == versions[0].digest
        _killed_slot(run, settings, target, versions[0])
        _ended_on_purpose(run, settings, target)


def _killed_slot(run: Callable[..., Any], settings: Any, target: local.LocalTarget, version: Version) -> None:
    slot = target.slots["blue"].process
    assert slot is not None
    slot.signal(signal.SIGKILL)
    assert slot.wait(5)
    code, said = run("--dry")
    assert (code, said[-1]["what"]) == (1, "blue is live and crashed: version 1 would be started again")
    assert target.slots["blue"].process is None
    code, said = run()
    assert (code, said[-1]["subject"]) == (1, "slot")
    assert "version 1 was started again" in said[-1]["what"]
    local.wait_ready(target, "blue", version.digest, settings.rollout.timeouts.ready_s)
    answer = httpx.get(f"{target.gateway.url}/v1/models", trust_env=False)
    assert (answer.status_code, answer.headers["x-assay-manifest"]) == (200, version.digest)
    assert run() == (0, [])


def _ended_on_purpose(run: Callable[[], Any], settings: Any, target: local.LocalTarget) -> None:
    local.down(settings, 1.0)
    code, said = run()
    assert code == 1
    assert "pipelines.gateway up" in said[0]["what"]
    assert target.gateway.process is None
