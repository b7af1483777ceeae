"""Stands in for GitLab: takes the relay's trigger and runs `python -m pipelines.promote`, as the CI jobs do.

A pipeline's address answers with its log.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from demo.sandbox import Sandbox
from host import daemon


@dataclass
class Pipeline:
    """One run, since `triggered_at` (UNIX time, seconds)."""

    number: int
    version: int
    digest: str
    url: str
    triggered_at: float
    process: daemon.Daemon | None = None  # None: it waits for the one before it

    @property
    def ended(self) -> bool:
        return self.process is not None and not self.process.alive


@dataclass
class Runner:
    """Runs one pipeline after the other: `resource_group` has it so in GitLab."""

    sandbox: Sandbox
    pipelines: list[Pipeline] = field(default_factory=list)
    _waiting: queue.Queue[Pipeline] = field(default_factory=queue.Queue)

    def trigger(self, variables: Mapping[str, str]) -> Pipeline:
        """What POST …/trigger/pipeline does."""
        number = len(self.pipelines) + 1
        url = f"http://127.0.0.1:{self.sandbox.gitlab_port}/pipelines/{number}"
        pipeline = Pipeline(number, int(variables["ASSAY_VERSION"]), variables["ASSAY_DIGEST"], url, time.time())
        self.pipelines.append(pipeline)
        self._waiting.put(pipeline)
        return pipeline

    def work(self) -> None:
        """Forever; in a thread of its own."""
        while True:
            pipeline = self._waiting.get()
            command = ["env", f"CI_PIPELINE_URL={pipeline.url}", sys.executable, "-m", "pipelines.promote", "--yes"]
            command += ["--version", str(pipeline.version), "--digest", pipeline.digest]
            tag, log = self.sandbox.tag("pipeline"), self.sandbox.log(f"pipeline-{pipeline.number}")
            pipeline.process = daemon.spawn(tag, command, log, cwd=self.sandbox.folder)
            while pipeline.process.alive:
                time.sleep(0.1)

    def log(self, number: int) -> str:
        """A pipeline's log so far."""
        log = self.sandbox.log(f"pipeline-{number}")
        return log.read_text(errors="replace").strip() if log.exists() else ""


@contextmanager
def running(sandbox: Sandbox) -> Iterator[Runner]:
    """A runner that listens on `sandbox.gitlab_port`."""
    runner = Runner(sandbox)
    handler = type("Handler", (_Handler,), {"runner": runner})
    with ThreadingHTTPServer(("127.0.0.1", sandbox.gitlab_port), handler) as server:
        for work in (server.serve_forever, runner.work):
            threading.Thread(target=work, name="gitlab", daemon=True).start()
        yield runner
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    runner: Runner

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[-1] for name, values in parse_qs(raw).items()}
        if form.get("token") != self.runner.sandbox.trigger_token:
            self._answer(404, json.dumps({"message": "404 Not Found"}), "application/json")
            return
        pipeline = self.runner.trigger(
            {name[10:-1]: value for name, value in form.items() if name.startswith("variables[")}
        )
        self._answer(201, json.dumps({"id": pipeline.number, "web_url": pipeline.url}), "application/json")

    def do_GET(self) -> None:
        number = self.path.rpartition("/")[2]
        known = number.isdigit() and 0 < int(number) <= len(self.runner.pipelines)
        self._answer(
            200 if known else 404, self.runner.log(int(number)) if known else "no such pipeline", "text/plain"
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """The terminal is the view's."""

    def _answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
