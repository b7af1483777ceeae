"""The summary becomes one note of its merge request, against a stand-in of GitLab's notes API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ci import merge_request_note
from core.errors import AssayError, ConfigError

NOTES = "/api/v4/projects/42/merge_requests/7/notes"
TOKEN = "glpat-test"
PAGE = 2  # notes on a page, however many are asked for: the caller has to turn pages


class Api(BaseHTTPRequestHandler):
    notes: list[dict[str, Any]]
    status: int | None

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        page = int(query["page"][0])
        more = {"X-Next-Page": str(page + 1) if page * PAGE < len(self.notes) else ""}
        self._answer(200, self.notes[(page - 1) * PAGE : page * PAGE], more)

    def do_POST(self) -> None:
        self.notes.append({"id": 100 + len(self.notes), "system": False, **self._body()})
        self._answer(201, self.notes[-1])

    def do_PUT(self) -> None:
        [note] = [note for note in self.notes if self.path == f"{NOTES}/{note['id']}"]
        note.update(self._body())
        self._answer(200, note)

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.headers["PRIVATE-TOKEN"] != TOKEN:
            code, content = 401, {"message": "401 Unauthorized"}
        elif urlsplit(self.path).path.partition("/notes")[0] + "/notes" != NOTES or self.status:
            code, content = self.status or 404, {"message": "404 Not found"}
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Not to the test's output."""


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Api]]:
    api = type("Handler", (Api,), {"notes": [], "status": None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    values = {
        "CI_API_V4_URL": f"{url}/api/v4",
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PIPELINE_URL": "https://gitlab.example/pipelines/1",
        "ASSAY_GITLAB_TOKEN": TOKEN,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    file = tmp_path / "summary.md"
    file.write_text("## Serve int8\n")
    return file


def test_the_note_is_made_once_and_then_updated(gitlab: type[Api], summary: Path) -> None:
    others = ["hello", "I quote: " + merge_request_note.MARK, "bye"]
    gitlab.notes += [{"id": number, "system": False, "body": body} for number, body in enumerate(others)]
    merge_request_note.main([str(summary)])
    summary.write_text("## Serve none of them\n")
    merge_request_note.main([str(summary)])
    assert [note["body"] for note in gitlab.notes[:3]] == others
    [own] = gitlab.notes[3:]
    assert own["body"].startswith(f"{merge_request_note.MARK}\n## Serve none of them")
    assert "https://gitlab.example/pipelines/1" in own["body"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ASSAY_GITLAB_TOKEN", "wrong", "401 .*ASSAY_GITLAB_TOKEN is invalid or expired"),
        ("CI_MERGE_REQUEST_IID", "8", "404 .*no such merge request"),
        ("CI_API_V4_URL", "http://127.0.0.1:9/api/v4", "does not answer"),
    ],
)
def test_what_gitlab_refuses_is_one_clear_line(
    gitlab: type[Api], summary: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(AssayError, match=words) as caught:
        merge_request_note.main([str(summary)])
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert gitlab.notes == []


def test_a_server_error_is_told_with_its_status(gitlab: type[Api], summary: Path) -> None:
    gitlab.status = 502
    with pytest.raises(AssayError, match="answered 502 to GET"):
        merge_request_note.main([str(summary)])


def test_outside_a_merge_request_it_says_what_is_missing(
    gitlab: type[Api], summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_MERGE_REQUEST_IID")
    with pytest.raises(ConfigError, match="CI_MERGE_REQUEST_IID is not set"):
        merge_request_note.main([str(summary)])
    with pytest.raises(ConfigError, match="not found: run stage `report` first"):
        merge_request_note.main([str(summary.parent / "nothing.md")])
