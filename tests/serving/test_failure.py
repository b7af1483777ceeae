"""An engine that dies takes its requests with it, visibly: errors, not hangs, and a liveness probe that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import ConfigError, ResourceError
from runtimes import Event, Sampling, TokenIds, echo
from serving import app, server_settings, service, wire
from serving.completion import ClientGone, begin

CALLS_BEFORE_FAILURE = 3


class Dying(echo.EchoEngine):
    """Works for a few steps, then as if memory had run out."""

    steps = 0

    def step(self) -> list[Event]:
        self.steps += 1
        if self.steps > CALLS_BEFORE_FAILURE:
            raise MemoryError("no more")
        return super().step()


class Refusing(echo.EchoEngine):
    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        raise MemoryError("no place")


@pytest.fixture
def broken(echo_version: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(echo, "engine", lambda folder, threads, batch: request.param(folder, batch))
    made = service.load(server_settings.make({"folder": echo_version, "slot": "green", "port": 0}, {}))
    yield made
    made.scheduler.stop()


@pytest.mark.parametrize("broken", [Dying, Refusing], indirect=True)
async def test_a_dead_engine_is_told_to_everyone(broken: service.Service) -> None:
    broken.scheduler.start()
    transport = httpx.ASGITransport(app.create(broken))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health/live")).status_code == 200
        asking = [client.post("/predict", json={"text": "one two three four"}) for _ in range(3)]
        found = await asyncio.wait_for(asyncio.gather(*asking), 5)
        # 500 for what the engine had; 503 for what came just after
        assert found[0].status_code == 500
        assert {response.status_code for response in found} <= {500, 503}
        assert all("MemoryError" in response.json()["error"]["message"] for response in found)
        assert (await client.get("/health/live")).status_code == 503
        assert (await client.get("/health/ready")).status_code == 503
        late = await client.post("/predict", json={"text": "late"})
        assert late.status_code == 503
        assert late.json()["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("broken", [Dying], indirect=True)
async def test_what_was_let_in_just_before_the_engine_died_gets_a_503(
    broken: service.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.scheduler.start()
    transport = httpx.ASGITransport(app.create(broken))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/predict", json={"text": "one two three four"})).status_code == 500
        monkeypatch.setattr(service.Service, "admit", lambda self: None)  # its body was still on the way
        for body in ({"text": "late"}, {"messages": [{"role": "user", "content": "late"}], "stream": True}):
            late = await client.post("/predict" if "text" in body else "/v1/chat/completions", json=body)
            assert (late.status_code, late.json()["error"]["code"]) == (503, "engine_failed")


@pytest.mark.parametrize("broken", [echo.EchoEngine], indirect=True)
async def test_a_bug_is_told_in_the_form_of_every_error(
    broken: service.Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken.scheduler.start()
    monkeypatch.setattr(service.Service, "prompt_limit", property(lambda self: 1 // 0))
    transport = httpx.ASGITransport(app.create(broken), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        found = await client.post("/predict", json={"text": "hi"})
    assert (found.status_code, found.json()["error"]["code"]) == (500, "bug")
    assert found.headers["x-assay-manifest"] == broken.digest
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" not in found.text


@pytest.mark.parametrize("broken", [echo.EchoEngine], indirect=True)
async def test_a_client_that_left_while_the_cache_was_asked_takes_no_place(broken: service.Service) -> None:
    broken.scheduler.start()
    body = wire.CompletionRequest(prompt="")

    async def text(leave: bool) -> str:
        completion = begin(broken, body, [9, 8, 7], 8, split=False, fresh=True)
        if leave:
            completion.leave()
        return "".join([piece.content async for piece in completion.pieces()])

    with pytest.raises(ClientGone):
        await text(leave=True)
    assert await asyncio.wait_for(text(leave=False), 5)
    assert broken.trouble is None


class Hanging(echo.EchoEngine):
    """Stays in a step until it is let go."""

    let_go = threading.Event()

    def step(self) -> list[Event]:
        self.let_go.wait(10)
        return super().step()


async def test_an_engine_that_hangs_is_neither_ready_nor_live_until_it_goes_on(
    echo_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "engine", lambda folder, threads, batch: Hanging(folder, batch))
    asked = {"folder": echo_version, "slot": "green", "port": 0, "step_limit_s": 0.2}
    made = service.load(server_settings.make(asked, {}))
    made.scheduler.start()
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app.create(made)), base_url="http://test"
        ) as client:
            hung = asyncio.create_task(client.post("/predict", json={"text": "one two"}))
            async with asyncio.timeout(5):
                while (await client.get("/health/live")).status_code == 200:
                    await asyncio.sleep(0.02)
            assert "one step of the engine has taken" in (await client.get("/health/live")).json()["why"]
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.post("/predict", json={"text": "late"})).json()["error"]["code"] == "engine_failed"
            small, made.version_bytes = made.version_bytes, 15 * 10**9  # whose steps may take 300 s
            assert (await client.get("/health/live")).status_code == 200
            made.version_bytes = small
            assert (await client.get("/health/live")).status_code == 503
            Hanging.let_go.set()
            assert (await asyncio.wait_for(hung, 5)).status_code == 200
            assert (await client.get("/health/ready")).status_code == 200
    finally:
        Hanging.let_go.set()
        made.scheduler.stop()


def test_an_engine_that_cannot_be_loaded_says_why(echo_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(echo.VARIABLE, '{"error_share": 2}')
    with pytest.raises(ConfigError, match="error_share"):
        service.load(server_settings.make({"folder": echo_version, "slot": "green", "port": 0}, {}))


def test_a_version_whose_runtime_cannot_run_here_is_refused(
    echo_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echo, "available", lambda: "no NVIDIA GPU", raising=False)
    with pytest.raises(ResourceError, match=r"the runtime 'echo' of .* cannot run here: no NVIDIA GPU"):
        service.load(server_settings.make({"folder": echo_version, "slot": "green", "port": 0}, {}))
