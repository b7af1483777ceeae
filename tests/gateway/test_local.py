"""The local target on real processes: taken over after a kill, drained, replaced, and ended with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.errors import TargetError
from host import daemon
from rehearsal import local_target
from rollout.params import RolloutSettings
from rollout.targets import Slot, Version, local
from rollout.targets.local import LocalTarget

Stack = tuple[RolloutSettings, LocalTarget]
LONG = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, slow_versions: tuple[Version, Version]) -> Iterator[Stack]:
    """Version 1 live on blue; each test uses green and leaves it empty."""
    with local_target.stack(tmp_path_factory.mktemp("s")) as (settings, target):
        local.up(settings, slow_versions[0])
        yield settings, target


def _wait_empty(target: LocalTarget, slot: Slot, seconds: float = 20) -> None:
    deadline_s = time.monotonic() + seconds
    while not target.observe().slots[slot].empty:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _elsewhere(settings: RolloutSettings, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with `target` in another process, as a controller would."""
    lines = [
        "import os, signal, sys",
        "from pathlib import Path",
        "from rollout.params import RolloutSettings",
        "from rollout.targets import Version, local",
        "settings = RolloutSettings.model_validate_json(sys.stdin.read())",
        "target = local.connect(settings)",
        code,
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, input=settings.model_dump_json(), capture_output=True, text=True, check=False)


def test_a_killed_controller_s_slot_is_taken_over(running: Stack, slow_versions: tuple[Version, Version]) -> None:
    settings, target = running
    version = slow_versions[1]
    killed = _elsewhere(
        settings,
        f"target.start('green', Version('assay', 2, {version.digest!r}, Path({str(version.folder)!r})))\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    identity = target.observe().slots["green"].identity
    assert identity
    target.start("green", version)
    local.wait_ready(target, "green", version.digest, 60)
    seen = target.observe()
    assert seen.slots["green"].identity == identity
    assert seen.slots["green"].digest == version.digest
    assert seen.live == "blue"
    target.stop("green", 5)
    _wait_empty(target, "green")
    assert target.observe().problems == ()


def test_a_stop_lets_a_stream_finish_and_a_repeated_one_does_not_cut_it(
    running: Stack, slow_versions: tuple[Version, Version]
) -> None:
    _, target = running
    target.start("green", slow_versions[1])
    local.wait_ready(target, "green", slow_versions[1].digest, 60)
    target.switch("green")
    body = {"messages": [{"role": "user", "content": LONG}], "stream": True, "max_tokens": 100}
    with httpx.stream("POST", f"{target.gateway.url}/v1/chat/completions", json=body, timeout=60) as answer:
        assert answer.headers["x-assay-manifest"] == slow_versions[1].digest
        lines = answer.iter_lines()
        next(lines)
        target.switch("blue")
        for _ in range(3):
            target.stop("green", 30)
            time.sleep(0.05)
        with pytest.raises(TargetError, match="about to end"):
            target.switch("green")
        rest = list(lines)
    assert "data: [DONE]" in rest
    _wait_empty(target, "green")


def test_a_slot_that_does_not_end_is_killed_after_its_time(
    running: Stack, slow_versions: tuple[Version, Version]
) -> None:
    _, target = running
    target.start("green", slow_versions[1])
    local.wait_ready(target, "green", slow_versions[1].digest, 60)
    process = target.slots["green"].process
    assert process is not None
    process.signal(signal.SIGSTOP)
    target.stop("green", 0.5)
    assert not target.observe().slots["green"].empty
    time.sleep(0.5)
    target.stop("green", 0.5)
    _wait_empty(target, "green", 5)


def test_a_version_whose_files_changed_says_so(running: Stack, tmp_path: Path) -> None:
    _, target = running
    version = local_target.version(tmp_path, 7, step_ms=1)
    (version.folder / "tokenizer.json").write_text("{}")
    target.start("green", version)
    with pytest.raises(TargetError, match=r"tokenizer\.json"):
        local.wait_ready(target, "green", version.digest, 60)
    assert "tokenizer.json" in target.observe().problems[0]
    target.stop("green", 1)


def test_counters_are_the_slot_s_and_a_dead_one_has_none(running: Stack) -> None:
    _, target = running
    before = target.sample("blue")
    answers = [
        httpx.post(f"{target.gateway.url}/predict", json={"text": "1 2", "max_tokens": tokens}, timeout=30)
        for tokens in (50, 50, 1)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    deadline_s = time.monotonic() + 5
    while (after := target.sample("blue")).requests < before.requests + 3:
        assert time.monotonic() < deadline_s
    assert after.identity == before.identity
    assert after.errors == before.errors
    assert after.truncated == before.truncated + 1
    assert after.ttft_ms[float("inf")] == before.ttft_ms[float("inf")] + 3
    assert target.sample("green").identity is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_runs_under_an_owners_tags_ends_with_it(
    number: signal.Signals, tmp_path: Path, versions: tuple[Version, Version]
) -> None:
    settings = local_target.settings(tmp_path)
    code = "\n".join(
        [
            "from rehearsal.processes import ends_with_owner",
            "signal.signal(signal.SIGINT, signal.default_int_handler)",  # a background shell has it ignored
            "with ends_with_owner(local.tags(settings)):",
            f"    version = Version('assay', 1, {versions[0].digest!r}, Path({str(versions[0].folder)!r}))",
            "    target.start('blue', version)",
            f"    os.kill(os.getpid(), {int(number)})",
        ]
    )
    ended = _elsewhere(settings, code)
    assert ended.returncode == -number, ended.stderr
    assert (tmp_path / "blue.json").exists(), "a slot was started"
    deadline_s = time.monotonic() + 20
    while found := daemon.find_all(local.tags(settings)):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


def test_a_pid_that_is_used_again_is_not_signalled() -> None:
    me = daemon.Daemon(os.getpid(), 1, {})
    heard = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())
    try:
        assert not me.alive
        assert not me.signal(signal.SIGUSR1)
        assert not heard.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
