"""A real Envoy: what it reports, what it survives, and what users see meanwhile."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from core.errors import ConfigError, TargetError
from gateway.envoy import Gateway
from gateway.settings import Route


class Slot(ThreadingHTTPServer):
    """A bare server that names itself; `wait_s` before each answer."""

    daemon_threads = True

    def __init__(self, name: str, port: int, wait_s: float = 0.0) -> None:
        self.asked: list[str] = []
        slot = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                slot.asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
                time.sleep(wait_s)
                body = name.encode()
                self.send_response(200)
                self.send_header("x-assay-manifest", f"digest-{name}")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """A copy that the gateway gave up."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def _ask(gateway: Gateway, text: str = "{}") -> httpx.Response:
    return httpx.post(f"{gateway.url}/predict", content=text, timeout=10, verify=False)


def test_the_route_that_envoy_reports_is_the_one_that_users_take(gateway: Gateway) -> None:
    settings = gateway.settings
    assert gateway.observed() == Route(1)
    assert _ask(gateway).status_code == 503
    with Slot("blue", settings.blue_port), Slot("green", settings.green_port):
        for number, name in enumerate(("blue", "green", "blue"), start=2):
            assert gateway.route(name) == number  # type: ignore[arg-type]  # the loop's names are slots
            assert gateway.observed().generation == number
            answer = _ask(gateway)
            assert (answer.text, answer.headers["x-assay-manifest"]) == (name, f"digest-{name}")
        assert gateway.route("blue") == 4, "nothing to change"
        assert gateway.counts("blue").users == 2
        assert gateway.counts("green").users == 1
    assert httpx.get(f"{gateway.url}/metrics").status_code == 404, "a slot's metrics are not for users"


def test_another_process_finds_the_same_envoy(gateway: Gateway) -> None:
    gateway.route("green")
    again = Gateway(gateway.settings)
    running, found = gateway.process, again.start()
    assert running is not None
    assert found.identity == running.identity
    assert again.observed().live == "green"
    again.stop(0)
    assert gateway.process is None
    gateway.stop(0)  # repeated


def test_other_ports_are_not_taken_for_the_same_gateway(gateway: Gateway) -> None:
    other = Gateway(gateway.settings.model_copy(update={"port": gateway.settings.port - 1}))
    with pytest.raises(ConfigError, match="other settings"):
        other.start()
    assert gateway.process is not None


def test_a_killed_envoy_comes_back_with_the_route_it_had(gateway: Gateway) -> None:
    generation = gateway.route("green", "blue", 25.0)
    process = gateway.process
    assert process is not None
    process.signal(signal.SIGKILL)
    assert process.wait(5)
    with pytest.raises(TargetError, match="does not answer"):
        gateway.observed()
    assert gateway.start().identity != process.identity
    assert gateway.observed() == Route(generation, "green", "blue", 25.0)


def test_a_switch_that_was_not_confirmed_cannot_arrive_later(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = gateway.observed().generation
    gateway.route("blue")
    process = gateway.process
    assert process is not None
    real = gateway.admin.route
    answers = [real()]

    def hang() -> Route | None:
        """The first look is answered, then Envoy stands still."""
        if not answers:
            return real()
        process.signal(signal.SIGSTOP)
        return answers.pop()

    monkeypatch.setattr(gateway.admin, "route", hang)
    with pytest.raises(TargetError):
        gateway.route("green", timeout_s=0.5)
    process.signal(signal.SIGCONT)
    deadline_s = time.monotonic() + 5
    while gateway.observed().generation < before + 3:
        assert time.monotonic() < deadline_s, gateway.observed()
    assert gateway.observed().live == "blue"
    assert gateway.route("green") == before + 4


def test_a_slow_mirror_delays_no_user_and_its_overflow_is_dropped(gateway: Gateway) -> None:
    limit = gateway.settings.max_mirrored
    with Slot("blue", gateway.settings.blue_port), Slot("green", gateway.settings.green_port, wait_s=6.0) as green:
        gateway.route("blue", "green", 100.0)
        began_s = time.monotonic()
        texts = [_ask(gateway, f'{{"n": {number}}}').text for number in range(limit + 10)]
        assert time.monotonic() - began_s < 6.0
        assert texts == ["blue"] * (limit + 10)
        assert gateway.active_requests("green") > 0
        counts = gateway.counts("green")
        assert counts.users == 0
        assert counts.dropped >= 10
        assert counts.mirrored_5xx == 0
        assert '{"n": 0}' in green.asked, "a mirrored request keeps its body"
        gateway.route("blue")
        assert gateway.observed().mirror is None


def test_a_dead_slot_is_an_error_in_openai_s_form(gateway: Gateway) -> None:
    gateway.route("blue")
    answer = _ask(gateway)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "slot_unreachable"
    counts = gateway.counts("blue")
    assert (counts.users, counts.users_5xx) == (1, 1)
    assert counts.retried > 0, "nothing had been sent, so it was tried again"


def test_every_request_is_logged_as_json(gateway: Gateway) -> None:
    with Slot("blue", gateway.settings.blue_port):
        generation = gateway.route("blue")
        httpx.post(f"{gateway.url}/v1/chat/completions", content="{}", headers={"x-request-id": "mine"})
        deadline_s = time.monotonic() + 10
        while not (lines := gateway.settings.access_log.read_text().splitlines()):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    [line] = [json.loads(line) for line in lines]
    assert (line["request_id"], line["cluster"], line["code"]) == ("mine", "blue", 200)
    assert line["manifest"] == "digest-blue"
    assert line["generation"] == str(generation)
    assert line["path"] == "/v1/chat/completions"
    assert 0 <= line["duration_ms"] < 5000
