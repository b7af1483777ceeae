"""MLflow's server with its UI and webhooks in one process: `python -m rehearsal.mlflow_server FOLDER PORT`.

`mlflow server` is a process that starts another one: half as fast to start, and twice as much to end when its owner
is killed. Webhooks may go to loopback. The names of its settings are those of MLflow 3.17
(mlflow/server/constants.py), which pyproject.toml pins.
"""

from __future__ import annotations

import base64
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from rehearsal.processes import wait_until_ready

START_S = 120.0
ENCRYPTION_KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"  # give one to a server that is to be started again
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for what nobody does here
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # https to public addresses only, unless told
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # a webhook counts from the moment that it is registered
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def command(folder: Path, port: int) -> list[str]:
    """How to start it, with its data in `folder`; run it in the project's root."""
    return [sys.executable, "-m", "rehearsal.mlflow_server", str(folder), str(port)]


def wait(port: int, alive: Callable[[], bool], log: Path) -> None:
    """Until it answers. Raises ResourceError when it ends by itself or takes too long."""
    # The first question makes the tables; two at once would trip over each other, so its answer is waited for.
    first = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
    wait_until_ready("MLflow's server", first, alive, log, START_S, answer_s=START_S)


def main(folder: Path, port: int) -> None:
    """Serve until SIGTERM."""
    warnings.simplefilter("ignore")
    import uvicorn
    from mlflow.server import constants

    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{folder / 'mlflow.db'}",
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(folder / "artifacts"),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        **SETTINGS,
    }
    os.environ.setdefault(ENCRYPTION_KEY, base64.urlsafe_b64encode(os.urandom(32)).decode())
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # it is the server
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
