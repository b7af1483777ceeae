"""A real MLflow server (rehearsal/mlflow_server.py) with its own store on a free port, which tests may restart.

    with mlflow_server.running(tmp_path) as server:
        version = server.register("assay", folder)            # with passing evidence
        server.client().set_registered_model_alias("assay", "approved", str(version))

Clients, also in other processes, need `server.environment`; `monkeypatch` it when the test's own process uses
registry.store. Seconds of CPU to start, so share one for a file.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import manifest
from rehearsal import mlflow_server
from rehearsal.processes import free_ports

ROOT = Path(__file__).parents[2]
PASSED = {"validation_status": "passed", "verdict.drift": "pass"}
KEY = base64.urlsafe_b64encode(b"0" * 32).decode()  # of webhook secrets in the database


@dataclass
class Server:
    """One store in `folder`; the same port and data after `stop` and `start`."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
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
        own = {
            mlflow_server.ENCRYPTION_KEY: KEY,
            "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "10",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                mlflow_server.command(self.folder, self.port), stdout=log, stderr=log, cwd=ROOT, env=os.environ | own
            )
        self.process = process
        mlflow_server.wait(self.port, lambda: process.poll() is None, self.log)

    def stop(self) -> None:
        """Stopping twice is fine."""
        if self.process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(10)
        self.process = None


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start one with its data in `folder`, yield, stop."""
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
