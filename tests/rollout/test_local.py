"""A rollout on real processes behind a real Envoy, under traffic: nothing is lost, forwards or back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal import local_target
from rollout import planning, questions
from rollout.controller import Controller
from rollout.params import RolloutSettings
from rollout.record import Rollout, RolloutRecord
from rollout.states import State
from rollout.targets import Version, local
from tests.parts.memory_registry import MemoryRegistry
from tests.rollout.stage import WHO, analysed

PHASE: dict[str, Any] = {"interval_s": 1, "count": 2, "min_requests": 5, "suite_items": 2, "inconclusive_limit": 1}
CONDITIONS = {"errors": "error_rate <= 0.01", "smoke": "answered_share >= 1"}


@dataclass
class Traffic:
    """One keep-alive client that asks without a pause through the gateway."""

    url: str
    statuses: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        body = {"model": "assay", "messages": [{"role": "user", "content": "1 2 3"}], "max_tokens": 8}
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.stop.wait(0.02):
                try:
                    answer = client.post("/v1/chat/completions", json=body)
                    self.statuses.append(answer.status_code)
                    self.digests.append(answer.headers.get("x-assay-manifest", ""))
                except httpx.HTTPError:
                    self.statuses.append(0)


@contextmanager
def _traffic(settings: RolloutSettings) -> Iterator[Traffic]:
    options = settings.rollout.options("local")
    found = Traffic(f"http://{options.host}:{options.port}")
    clients = [threading.Thread(target=found.run) for _ in range(2)]
    for client in clients:
        client.start()
    yield found
    found.stop.set()
    for client in clients:
        client.join()


@pytest.mark.parametrize(("fault", "ends"), [(False, State.SUCCEEDED), (True, State.ROLLED_BACK)])
def test_no_request_is_lost(tmp_path: Path, fault: bool, ends: State) -> None:
    switch = tmp_path / "degrade"
    one, two = (
        local_target.version(tmp_path, 1),
        local_target.version(tmp_path, 2, error_share=0.2, after_file=str(switch)),
    )
    with local_target.stack(tmp_path / "s") as (settings, target):
        settings = analysed(settings, PHASE, CONDITIONS)
        local.up(settings, one)
        known = {number: (version.folder, version.digest, "pass") for number, version in ((1, one), (2, two))}
        registry = MemoryRegistry(tmp_path / "registry.json", known)  # type: ignore[arg-type]  # "pass" is a Verdict
        registry.set_aliases(1, None)
        record = RolloutRecord(tmp_path / "rollout.db")

        def report(rollout: Rollout) -> None:
            if fault and rollout.state is State.POST_PROMOTION_ANALYSIS:
                switch.touch()

        controller = Controller(record, target, registry, settings, WHO, questions.asker(settings), report=report)
        rollout = record.create(
            "production", planning.promote("assay", 2, registry, target), WHO, "test", time.time()
        )
        record.ask(rollout, "approve", WHO, "test", time.time())
        with _traffic(settings) as traffic:
            ended = controller.run(rollout)
            time.sleep(0.3)
        assert ended.state is ends, [event.why for event in record.events()]
        seen = target.observe()
        _live_is(seen.slots[seen.live].digest if seen.live else None, two if ends is State.SUCCEEDED else one)
        assert registry.alias("champion") == (2 if ends is State.SUCCEEDED else 1)
        assert seen.slots["green"].empty is fault
        assert {one.digest, two.digest} == set(traffic.digests)
        answered_wrongly = [status for status in traffic.statuses if status != 200]
        assert set(answered_wrongly) <= ({500} if fault else set()), "what the fault did not do is lost"
        assert len(traffic.statuses) > 100


def _live_is(digest: str | None, version: Version) -> None:
    assert digest == version.digest
