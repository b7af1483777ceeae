"""A stand-in for GitLab's trigger API: one project, one token, one branch. It answers as GitLab does (17 and later).

POST /api/v4/projects/:id/trigger/pipeline, from lib/api/ci/triggers.rb: a wrong token or project is 404, a missing
field or an unknown ref 400, a pipeline 201. It can be down, refuse the next calls, or lose an answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from rehearsal.processes import free_ports

PROJECT, TOKEN, REF = "group/assay", "glptt-0123456789abcdef", "main"


@dataclass(frozen=True)
class Pipeline:
    """One that was triggered."""

    id: int
    ref: str
    variables: dict[str, str]
    web_url: str
    at: float


@dataclass
class Gitlab:
    """`pipelines` is what it was asked to run, in order."""

    port: int = field(default_factory=lambda: free_ports(1)[0])
    pipelines: list[Pipeline] = field(default_factory=list)
    refuse: list[int] = field(default_factory=list)  # statuses of the next calls, before anything is looked at
    lose_answers: int = 0  # of so many pipelines: it is there, and the caller never learns
    calls: int = 0
    on_pipeline: Callable[[Pipeline], None] | None = None
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What approval/gitlab.py reads."""
        return {
            "ASSAY_GITLAB_URL": self.url,
            "ASSAY_GITLAB_PROJECT": PROJECT,
            "ASSAY_GITLAB_REF": REF,
            "ASSAY_GITLAB_TRIGGER_TOKEN": TOKEN,
        }

    def start(self) -> None:
        """Also after `stop`, on the same port, with the same pipelines."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (_Handler,), {"gitlab": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Down: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def wait_for(self, count: int, seconds: float = 30) -> list[Pipeline]:
        """The pipelines, once there are `count` of them."""
        deadline_s = time.monotonic() + seconds
        while len(self.pipelines) < count:
            assert time.monotonic() < deadline_s, f"{len(self.pipelines)} of {count} pipelines after {seconds} s"
            time.sleep(0.05)
        return self.pipelines

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, object]:
        """Status and JSON for one POST."""
        self.calls += 1
        if self.refuse:
            status = self.refuse.pop(0)
            return status, {"message": f"{status} made by the test"}
        parts = urlsplit(path).path.split("/")
        if parts[:4] != ["", "api", "v4", "projects"] or parts[5:] != ["trigger", "pipeline"]:
            return 404, {"error": "404 Not Found"}
        missing = [name for name in ("ref", "token") if not form.get(name)]
        if missing:
            return 400, {"error": ", ".join(f"{name} is missing" for name in missing)}
        if unquote(parts[4]) != PROJECT:
            return 404, {"message": "404 Project Not Found"}
        if form["token"] != TOKEN:
            return 404, {"message": "404 Not Found"}
        if form["ref"] != REF:
            return 400, {"message": {"base": ["Reference not found"]}}
        number = len(self.pipelines) + 1
        variables = {name[10:-1]: value for name, value in form.items() if name.startswith("variables[")}
        made = Pipeline(number, REF, variables, f"{self.url}/{PROJECT}/-/pipelines/{number}", time.time())
        self.pipelines.append(made)
        if self.on_pipeline:
            self.on_pipeline(made)
        return 201, {
            "id": number, "iid": number, "project_id": 1, "ref": REF, "status": "created", "source": "trigger",
            "web_url": made.web_url,
        }  # fmt: skip


@contextmanager
def running() -> Iterator[Gitlab]:
    """Started, yielded, stopped."""
    gitlab = Gitlab()
    gitlab.start()
    try:
        yield gitlab
    finally:
        gitlab.stop()


class _Handler(BaseHTTPRequestHandler):
    gitlab: Gitlab

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[-1] for name, values in parse_qs(raw).items()}
        status, content = self.gitlab.answer(self.path, form)
        if status == 201 and self.gitlab.lose_answers:
            self.gitlab.lose_answers -= 1
            self.close_connection = True
            return
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """What was asked is kept in `Gitlab.pipelines`."""
