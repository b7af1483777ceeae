"""One id names a request in the gateway's log, the server's log and the response."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from tests.serving.running import Server


def _ask(server: Server, given: str) -> str:
    """The id of the response, which the log has too: its line comes a moment later."""
    answer = httpx.post(f"{server.url}/predict", json={"text": "1 2"}, headers={"x-request-id": given}, timeout=30)
    assert answer.status_code == 200
    [found] = answer.headers.get_list("x-request-id")
    deadline_s = time.monotonic() + 5
    while found not in {line["request_id"] for line in server.requests_logged()}:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("given", ["4c0e2a3b-0a52-9c5a-8f0e-2d5a6b7c8d9e", "mine_1.2", "x" * 128])
def test_a_valid_id_is_kept(echoing: Server, given: str) -> None:
    assert _ask(echoing, given) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", '{"a": 1}', "a\tb"])
def test_any_other_is_replaced(echoing: Server, given: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", _ask(echoing, given))
