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

from demo.place import Place
from host import daemon


@dataclass
class Job:
    """One run, since `asked_at` (UNIX time, seconds)."""

    number: int
    version: int
    digest: str
    url: str
    asked_at: float
    process: daemon.Daemon | None = None  # None: it waits for the one before it

    @property
    def ended(self) -> bool:
        return self.process is not None and not self.process.alive


@dataclass
class Runner:
    """Runs one job after the other: `resource_group` has it so in GitLab."""

    where: Place
    jobs: list[Job] = field(default_factory=list)
    _waiting: queue.Queue[Job] = field(default_factory=queue.Queue)

    def trigger(self, variables: Mapping[str, str]) -> Job:
        """What POST …/trigger/pipeline does."""
        number = len(self.jobs) + 1
        url = f"http://127.0.0.1:{self.where.gitlab_port}/pipelines/{number}"
        job = Job(number, int(variables["ASSAY_VERSION"]), variables["ASSAY_DIGEST"], url, time.time())
        self.jobs.append(job)
        self._waiting.put(job)
        return job

    def work(self) -> None:
        """Forever; in a thread of its own."""
        while True:
            job = self._waiting.get()
            command = ["env", f"CI_PIPELINE_URL={job.url}", sys.executable, "-m", "pipelines.promote", "--yes"]
            command += ["--version", str(job.version), "--digest", job.digest]
            tag, log = self.where.tag("pipeline"), self.where.log(f"pipeline-{job.number}")
            job.process = daemon.spawn(tag, command, log, cwd=self.where.folder)
            while job.process.alive:
                time.sleep(0.1)

    def said(self, number: int) -> str:
        """A job's log so far."""
        log = self.where.log(f"pipeline-{number}")
        return log.read_text(errors="replace").strip() if log.exists() else ""


@contextmanager
def running(where: Place) -> Iterator[Runner]:
    """A runner that listens on `where.gitlab_port`."""
    runner = Runner(where)
    handler = type("Handler", (_Handler,), {"runner": runner})
    with ThreadingHTTPServer(("127.0.0.1", where.gitlab_port), handler) as server:
        for work in (server.serve_forever, runner.work):
            threading.Thread(target=work, name="gitlab", daemon=True).start()
        yield runner
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    runner: Runner

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[-1] for name, values in parse_qs(raw).items()}
        if form.get("token") != self.runner.where.trigger_token:
            self._answer(404, json.dumps({"message": "404 Not Found"}), "application/json")
            return
        job = self.runner.trigger(
            {name[10:-1]: value for name, value in form.items() if name.startswith("variables[")}
        )
        self._answer(201, json.dumps({"id": job.number, "web_url": job.url}), "application/json")

    def do_GET(self) -> None:
        number = self.path.rpartition("/")[2]
        known = number.isdigit() and 0 < int(number) <= len(self.runner.jobs)
        self._answer(
            200 if known else 404, self.runner.said(int(number)) if known else "no such pipeline", "text/plain"
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
