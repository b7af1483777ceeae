"""What happens at the limits: full queue, time-outs, clients that leave, rate limits, keys, a failing engine."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import httpx
import openai
import pytest

from core.errors import ConfigError
from runtimes import echo
from serving import server_settings
from serving.auth import Keys
from tests.serving.running import Server, server

LONG = "a very long question " * 8


def open_request(running: Server, path: str, **body: object) -> socket.socket:
    """A request on a connection of its own, whose answer nobody has read yet."""
    address = urlparse(running.url)
    connection = socket.create_connection((address.hostname, address.port))
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + content)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(slow_version: Path, tmp_path: Path, stream: bool) -> None:
    with server(slow_version, tmp_path / "log", "--max-batch", "1", "--max-queue", "1") as running:
        messages = [{"role": "user", "content": LONG}]
        gone = open_request(running, "/v1/chat/completions", messages=messages, stream=stream)
        waits = open_request(running, "/predict", text=LONG)
        running.wait_for("assay_inflight_requests", 2)
        waits.close()  # one that has no place yet
        gone.close()
        running.wait_for("assay_inflight_requests", 0)
        began_s = time.monotonic()
        assert running.predict("hi").status_code == 200
        assert time.monotonic() - began_s < 1.0
        assert [line["status"] for line in running.requests_logged()] == [499, 499, 200]


def test_a_full_queue_answers_429_and_loses_nobody(slow_version: Path, tmp_path: Path) -> None:
    with server(slow_version, tmp_path / "log", "--max-batch", "2", "--max-queue", "2") as running:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: running.predict("one two three four"), range(8)))
        codes = sorted(response.status_code for response in found)
        assert codes == [200] * 4 + [429] * 4
        refused = next(response for response in found if response.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"
        assert running.metric("assay_requests_total", code="429") == 4


def test_a_long_answer_has_longer_unless_the_limit_is_set() -> None:
    asked = {"folder": "", "slot": "blue", "port": 0}
    free, fixed = (server_settings.make(asked | limit, {}) for limit in ({}, {"request_timeout_s": 9}))
    assert [free.answer_limit_s(tokens) for tokens in (1, 512, 32_000)] == [120, 120, 3200]
    assert fixed.answer_limit_s(32_000) == 9


def test_a_request_that_takes_too_long_gets_504(slow_version: Path, tmp_path: Path) -> None:
    with server(slow_version, tmp_path / "log", "--request-timeout-s", "0.3") as running:
        assert running.predict(LONG).status_code == 504
        assert running.predict("hi").status_code == 200
        stream = running.client().chat.completions.create(
            model="assay", messages=[{"role": "user", "content": LONG}], stream=True
        )
        with pytest.raises(openai.APIError, match="no complete answer"):
            list(stream)
        assert running.metric("assay_requests_total", code="504") == 2


def test_a_body_that_is_too_long_is_refused(echoing: Server) -> None:
    response = httpx.post(f"{echoing.url}/predict", content=b" " * (2 << 20))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_long"


def test_the_rate_limit_counts_by_key(echo_version: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\nsecond\n")
    with server(echo_version, tmp_path / "log", "--rate-limit", "3/minute", ASSAY_API_KEYS_FILE=str(keys)) as running:
        codes = {
            key: [
                httpx.post(f"{running.url}/predict", json={"text": "hi"}, headers={"Authorization": f"Bearer {key}"})
                for _ in range(4)
            ]
            for key in ("first", "second")
        }
        for responses in codes.values():
            assert [response.status_code for response in responses] == [200, 200, 200, 429]
            assert 0 < int(responses[-1].headers["retry-after"]) <= 60
            assert responses[-1].headers["x-assay-slot"] == "blue"
        assert httpx.get(f"{running.url}/health/ready").status_code == 200


def test_an_invented_key_is_no_way_round_the_rate_limit(echo_version: Path, tmp_path: Path) -> None:
    with server(echo_version, tmp_path / "log", ASSAY_RATE_LIMIT="3/minute") as running:
        found = [
            httpx.post(f"{running.url}/predict", json={"text": "hi"}, headers={"Authorization": f"Bearer {key}"})
            for key in "abcd"
        ]
        assert [response.status_code for response in found] == [200, 200, 200, 429]


def test_what_cannot_be_read_is_no_limit_and_no_key_but_an_error(echo_version: Path, tmp_path: Path) -> None:
    own = {"folder": echo_version, "slot": "blue", "port": 0}
    with pytest.raises(ConfigError, match="rate_limit"):
        server_settings.make(own, {"ASSAY_RATE_LIMIT": "100 a minute"})
    keys = tmp_path / "keys"
    keys.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Keys(keys)


def test_only_known_keys_may_ask(echo_version: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# team a\ngood-key\n\n")
    with server(echo_version, tmp_path / "log", ASSAY_API_KEYS_FILE=str(keys)) as running:
        with pytest.raises(openai.AuthenticationError):
            running.client("bad-key").models.list()
        messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
        with pytest.raises(openai.AuthenticationError):
            running.client("bad-key").chat.completions.create(model="assay", messages=messages)
        assert running.client("good-key").chat.completions.create(model="assay", messages=messages).usage
        assert httpx.get(f"{running.url}/health/ready").status_code == 200
        assert "good-key" not in running.log.read_text()


def test_an_engine_error_is_a_500_of_that_request_alone(tiny_qwen2: Path, tmp_path: Path) -> None:
    echo.write(tmp_path / "bad", tiny_qwen2, "bad", echo.Behaviour(error_share=1, after_requests=2))
    with server(tmp_path / "bad", tmp_path / "log") as running:
        assert [running.predict("hi").status_code for _ in range(4)] == [200, 200, 500, 500]
        assert httpx.get(f"{running.url}/health/live").status_code == 200
        assert running.metric("assay_requests_total", code="500") == 2


def test_a_request_leaves_one_line_without_its_text(echo_version: Path, tmp_path: Path) -> None:
    with server(echo_version, tmp_path / "log") as running:
        running.predict("secret words 12")
        running.wait_for("assay_inflight_requests", 0)  # the line is written after the answer was sent
        [line] = running.requests_logged()
        guide = {"request_id", "input_length", "output_length", "inference_time", "gpu_memory_used"}
        assert guide | {"digest", "slot", "status"} <= line.keys()
        assert line["input_length"] > line["output_length"] > 3
        assert 0 < line["inference_time"] < 5
        assert "secret" not in running.log.read_text()


def test_metrics_tell_empty_and_truncated_answers(tiny_qwen2: Path, tmp_path: Path) -> None:
    echo.write(tmp_path / "empty", tiny_qwen2, "empty", echo.Behaviour(empty_share=1, after_requests=1))
    with server(tmp_path / "empty", tmp_path / "log") as running:
        running.predict("12 + 34", max_tokens=2)
        running.predict("12 + 34")
        assert running.metric("assay_answers_total", kind="truncated") == 1
        assert running.metric("assay_answers_total", kind="empty") == 1
        assert running.metric("assay_answers_total", kind="ok") == 0
        assert running.metric("assay_ttft_seconds_count") == 1
        assert running.metric("assay_itl_seconds_count") == 1
        assert running.metric("assay_tokens_total", direction="out") == 2


def test_requests_share_the_batch(slow_version: Path, tmp_path: Path) -> None:
    with server(slow_version, tmp_path / "log", "--max-batch", "8", "--queue-delay-ms", "200") as running:
        began_s = time.monotonic()
        threads = [threading.Thread(target=running.predict, args=("one two three",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        steps, requests = (running.metric(f"assay_batch_requests_{kind}") for kind in ("count", "sum"))
        assert requests / steps > 7
        assert time.monotonic() - began_s < 5
