"""A server process as a person or the local target starts it, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from rehearsal.processes import model_server


@dataclass
class Server:
    """`log` holds the process's stdout: one JSON object a line."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def client(self, key: str = "unused") -> openai.OpenAI:
        """The official client, unchanged; without its retries, which would hide errors."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def predict(self, text: str, **more: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/predict", json={"text": text, **more}, timeout=30)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples whose labels include `labels`."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(pair in line for pair in wanted))

    def requests_logged(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["logger"] == "assay.request"]

    def wait_for(self, name: str, value: float, **labels: str) -> None:
        """Until a metric has a value."""
        deadline_s = time.monotonic() + 10
        while self.metric(name, **labels) != value:
            assert time.monotonic() < deadline_s, f"{name} is {self.metric(name, **labels)}, not {value}"
            time.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def server(folder: Path, log: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A ready server on a free port; killed at the end if the test has not stopped it."""
    with model_server(folder, log, *arguments, **environment) as (process, url):
        yield Server(process, url, log)
