"""A real MLflow server (SQLite, its own artifact store) on a free port. It may send webhooks to loopback.

    with mlflow_server.running(tmp_path) as server:
        version = server.register("assay", folder)            # with passing evidence
        server.client().set_registered_model_alias("assay", "approved", str(version))

Clients, also in other processes, need `server.environment`; `monkeypatch` it when the test's own process uses
registry.store. About 8 s of CPU to start, so share one for a file.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from models import manifest
from tests.parts import ports

START_S = 120.0
PASSED = {"validation_status": "passed", "verdict.drift": "pass"}
ENCRYPTION_KEY = base64.urlsafe_b64encode(b"0" * 32).decode()  # of webhook secrets in the database


@dataclass
class Server:
    """One store in `folder`; the same port and data after `stop` and `start`."""

    folder: Path
    port: int = field(default_factory=lambda: ports.free(1)[0])
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the API and of the UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def environment(self) -> dict[str, str]:
        """What a client reads. A dead server is an error soon, not after minutes."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }

    def client(self) -> Any:
        """An MlflowClient of this server, whatever the process's default store is."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self.url, registry_uri=self.url)

    def register(self, name: str, folder: Path, tags: Mapping[str, str] | None = None) -> int:
        """A new version with the files of `folder` (a variant with its manifest); `tags` default to a pass."""
        client = self.client()
        experiment = client.get_experiment_by_name("assay")
        experiment_id = experiment.experiment_id if experiment else client.create_experiment("assay")
        run = client.create_run(experiment_id, run_name=folder.name)
        client.log_artifacts(run.info.run_id, str(folder), "variant")
        client.set_terminated(run.info.run_id)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        own = {"manifest_sha256": manifest.digest(folder)} | dict(PASSED if tags is None else tags)
        made = client.create_model_version(name, run.info.artifact_uri, run_id=run.info.run_id, tags=own)
        return int(made.version)

    def start(self) -> None:
        """Returns when it answers."""
        (self.folder / "artifacts").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        own = {
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # https to public addresses only, unless told
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a webhook counts from the moment that it is registered
            "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "10",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for features that nobody uses here
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=inherited | own, start_new_session=True
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, f"mlflow server ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline_s, f"mlflow server does not answer: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        """The command and its worker, which is another process; stopping twice is fine."""
        if self.process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(10)
        self.process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start one with its data in `folder`, yield, stop."""
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
