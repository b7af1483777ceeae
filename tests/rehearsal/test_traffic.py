from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rehearsal.traffic import LoadProfile, Traffic


class Odd(BaseHTTPRequestHandler):
    """Answers 200 with what its path names, whatever was asked."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        said = ODD[self.path.split("/")[1]].encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


ODD = {
    "no-message": '{"choices": [{}]}',
    "a-list": "[1]",
    "no-delta": 'data: {"choices": [{}]}\n\ndata: [DONE]\n\n',
    "no-choices": "data: {}\n\ndata: [DONE]\n\n",
    "a-number": "data: 7\n\ndata: [DONE]\n\n",
}


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_of_any_odd_shape_is_counted_as_lost(url: str, odd: str) -> None:
    streaming = 1.0 if ODD[odd].startswith("data") else 0.0
    traffic = Traffic(LoadProfile(f"{url}/{odd}", per_s=100, requests=4, streaming=streaming)).start()
    traffic.join()
    assert (len(traffic.requests), len(traffic.lost)) == (4, 4)
