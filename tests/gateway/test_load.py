"""No request is lost in a switch, in a switch back, or when the old slot stops; and no stream is cut."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from rehearsal import local_target, switching
from rehearsal.traffic import LoadProfile, Traffic
from rollout.targets import Version, local

LOG_S = 1.5  # until the gateway has written the last line of its log
STEP_MS = 5.0  # a stream of 20 tokens lasts for 100 ms or more: every switch meets open ones


@pytest.fixture(scope="module")
def streaming_versions(tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    folder = tmp_path_factory.mktemp("streaming")
    return [local_target.version(folder, number, step_ms=STEP_MS) for number in (1, 2)]


def _rollouts(state: Path, versions: list[Version], per_s: float, requests: int, rest_s: float) -> Traffic:
    """Rollouts and rollbacks until `requests` are asked; what every such run must show."""
    with local_target.stack(state, serve={"max_queue": 1000}) as (settings, target):
        local.up(settings, versions[0])
        plan = LoadProfile(target.gateway.url, per_s=per_s, requests=None)
        traffic = Traffic(plan).start()
        switches = switching.back_and_forth(
            target, versions, lambda: len(traffic.requests) < requests, rest_s, grace_s=20
        )
        traffic.stop()
        time.sleep(LOG_S)
        log = target.gateway.settings.access_log
        outdated, logged = switching.outdated(switches, log), len(log.read_text().splitlines())
        counts = [target.gateway.counts(slot) for slot in ("blue", "green")]
    assert not traffic.lost, f"{len(traffic.lost)} of {len(traffic.requests)} lost, first {traffic.lost[:3]}"
    assert len(traffic.requests) >= requests
    assert not (late := switching.late(switches, traffic.requests)), f"{len(late)} late, first {late[:3]}"
    assert not outdated, f"{len(outdated)} requests took a route that was replaced before they came: {outdated[:3]}"
    assert logged == len(traffic.requests)
    assert len(switching.first_on_new_ms(switches, traffic.requests)) == len(switches), (
        "each switch was seen by users"
    )
    assert sum(one.stream for one in traffic.requests) > 0.4 * len(traffic.requests)
    assert sum(count.users for count in counts) == len(traffic.requests)
    assert sum(count.users_5xx + count.cut for count in counts) == 0
    assert max(count.mirrored for count in counts) > 0
    return traffic


def test_no_request_is_lost_in_a_rollout(tmp_path: Path, streaming_versions: list[Version]) -> None:
    """One rollout with streams that are open while the route moves and the old slot stops."""
    traffic = _rollouts(tmp_path, streaming_versions, per_s=40, requests=100, rest_s=1.0)
    assert len(traffic.by_digest) == 2


def test_what_is_lost_is_counted(tmp_path: Path, streaming_versions: list[Version]) -> None:
    """The measure itself: a slot that is killed costs requests and streams, and users and gateway both say so."""
    with local_target.stack(tmp_path) as (settings, target):
        local.up(settings, streaming_versions[0])
        long = LoadProfile(target.gateway.url, per_s=40, streaming=1.0, words=60, max_tokens=200)  # a second each
        traffic = Traffic(long).start()
        while len(traffic.requests) < 20:
            time.sleep(0.05)
        process = target.slots["blue"].process
        assert process is not None
        process.signal(signal.SIGKILL)
        time.sleep(0.5)
        traffic.stop()
        counts = target.gateway.counts("blue")
        seen = target.observe()
    whys = [str(one.lost) for one in traffic.lost]
    assert any("the stream was cut" in why or "ClientPayloadError" in why for why in whys), whys
    assert any("HTTP 503" in why for why in whys), whys
    assert counts.cut > 0
    assert counts.users_5xx > 0
    assert seen.slots["blue"].empty
    assert "blue crashed" in seen.problems[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_of_ten_thousand_is_lost(tmp_path: Path, streaming_versions: list[Version]) -> None:
    """100 requests a second, rollouts and rollbacks one after another."""
    _rollouts(tmp_path, streaming_versions, per_s=100, requests=10_000, rest_s=2.0)
