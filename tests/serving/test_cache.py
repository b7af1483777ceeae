"""The cache saves time, never mixes versions, and its death costs no request. With a real Redis."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import ConfigError
from runtimes import echo
from serving.cache import Cache
from tests.parts import redis
from tests.serving.running import Server, server
from tests.serving.test_limits import open_request

TEXT = "what is 12 + 34"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[str, object]]:
    with redis.server(tmp_path) as found:
        yield found


def steps(running: Server) -> float:
    return running.metric("assay_batch_requests_count")


def test_a_repeated_request_is_answered_without_the_engine(
    real_version: Path, tmp_path: Path, store: tuple[str, object]
) -> None:
    with server(real_version, tmp_path / "log", REDIS_URL=store[0]) as running:
        first = running.predict(TEXT, max_tokens=8).json()
        before = steps(running)
        second = running.predict(TEXT, max_tokens=8).json()
        assert steps(running) == before
        assert second == first | {"cached": True}
        assert running.metric("assay_cache_total", result="hit") == 1
        messages: Any = [{"role": "user", "content": TEXT}]
        stream: Any = running.client().chat.completions.create(
            model="assay", messages=messages, max_tokens=8, stream=True
        )
        parts = [chunk.choices[0].delta for chunk in stream if chunk.choices]
        assert "".join(part.content or "" for part in parts) == first["result"]
        assert steps(running) == before
        assert running.predict(TEXT, max_tokens=9).json()["cached"] is False
        body, refuse = {"text": TEXT, "max_tokens": 8}, {"Cache-Control": "no-cache"}
        assert httpx.post(f"{running.url}/predict", json=body, headers=refuse, timeout=30).json() == first
        for _ in range(2):  # random answers are not kept
            assert running.predict(TEXT, max_tokens=8, temperature=1).json()["cached"] is False


def test_never_across_versions(tiny_qwen2: Path, tmp_path: Path, store: tuple[str, object]) -> None:
    for name, how in (("good", echo.Behaviour()), ("garbled", echo.Behaviour(garbage_share=1))):
        echo.write(tmp_path / name, tiny_qwen2, "same-name", how)
    found = []
    for name in ("good", "garbled"):
        with server(tmp_path / name, tmp_path / "log", REDIS_URL=store[0]) as running:
            found.append(running.predict(TEXT).json())
    assert found[0]["result"] != found[1]["result"]
    assert found[1]["cached"] is False


async def test_more_requests_at_once_than_connections_find_it(store: tuple[str, object]) -> None:
    kept = Cache(store[0], "digest", 60)
    await kept.put("key", {"finish": "stop"})
    found = await asyncio.gather(*(kept.get("key") for _ in range(100)))
    await kept.close()
    assert [result for result, _ in found] == ["hit"] * 100


def test_a_client_that_leaves_while_the_cache_is_asked_takes_no_place(slow_version: Path, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        server(slow_version, tmp_path / "log", REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0") as running,
    ):
        open_request(running, "/predict", text=TEXT * 20).close()
        while not running.requests_logged():
            time.sleep(0.02)
        assert [line["status"] for line in running.requests_logged()] == [499]
        assert steps(running) == 0


def test_no_part_of_a_password_is_told() -> None:
    with pytest.raises(ConfigError, match="percent-encoded") as refused:
        Cache("redis://:hunter2/abc@127.0.0.1:6379/0", "digest", 60)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("way", ["killed", "frozen"])
def test_everything_goes_on_without_redis(
    echo_version: Path, tmp_path: Path, store: tuple[str, object], way: str
) -> None:
    url, process = store
    with server(echo_version, tmp_path / "log", REDIS_URL=url) as running:
        assert running.predict(TEXT).json()["cached"] is False
        assert running.predict(TEXT).json()["cached"] is True
        process.kill() if way == "killed" else process.send_signal(19)  # type: ignore[attr-defined]  # a Popen; SIGSTOP
        answers = [running.predict(TEXT) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert not any(answer.json()["cached"] for answer in answers)
        assert running.metric("assay_cache_total", result="down") == 20
