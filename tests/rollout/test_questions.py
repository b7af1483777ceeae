"""A suite asked over real HTTP: right, wrong, empty, another digest, an error, no answer at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data import replies, scoring
from rollout import questions
from rollout.analysis import Answers
from tests.rollout.stage import settings

SETTINGS = settings()
DIGEST = "d" * 64


class _Slot(BaseHTTPRequestHandler):
    """Answers the n-th question of `items` as `how[n]` says."""

    items = questions.items(SETTINGS, 6)
    how = ("right", "right", "wrong", "empty", "other digest", "error")
    seen: list[dict[str, object]] = []  # noqa: RUF012 - one server, one list

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body | {"path": self.path, "cache": self.headers["Cache-Control"]})
        index = next(i for i, item in enumerate(self.items) if item.question == body["messages"][0]["content"])
        item, how = self.items[index], self.how[index]
        whole = {"wrong": "so</think>\\boxed{no}", "empty": "so</think>"}.get(how, scoring.ideal(item))
        thought, _, answer = whole.rpartition(replies.THINK_END)  # as serving/ hands it over
        message = {"reasoning_content": thought or None, "content": answer}
        content = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(500 if how == "error" else 200)
        self.send_header("x-assay-manifest", "e" * 64 if how == "other digest" else DIGEST)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slot)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_an_answer_of_the_right_version_counts(url: str) -> None:
    found = questions.asker(SETTINGS)(url, DIGEST, _Slot.items)
    assert (found.asked, found.answered, found.right) == (6, 3, 2)
    assert found.by_question == dict(
        zip([item.id for item in _Slot.items], [True, True, False, None, None, None], strict=True)
    )
    assert {(request["path"], request["cache"]) for request in _Slot.seen} == {("/v1/chat/completions", "no-cache")}


def test_a_slot_that_is_down_answered_nothing() -> None:
    found = questions.asker(SETTINGS)("http://127.0.0.1:1", DIGEST, _Slot.items)
    assert found == Answers.of({item.id: None for item in _Slot.items})
    assert (found.asked, found.answered, found.right) == (6, 0, 0)


def test_the_same_questions_for_every_version() -> None:
    assert questions.items(SETTINGS, 6) == _Slot.items
    assert questions.items(SETTINGS, 0) == []
