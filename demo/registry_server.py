"""MLflow's server with its UI and webhooks in one process: `python -m demo.registry_server FOLDER PORT`.

`mlflow server` is a process that starts another one: half as fast to start, and twice as much to end when the demo is
killed. The names of its settings are those of MLflow 3.17 (mlflow/server/constants.py), which pyproject.toml pins.
"""

from __future__ import annotations

import base64
import os
import sys
import warnings
from pathlib import Path

from demo import place
from demo.place import ROOT, Place
from host import daemon

START_S = 90.0


def start(where: Place) -> daemon.Daemon:
    """Start it in the background; `wait` for it before it is asked."""
    command = [sys.executable, "-m", "demo.registry_server", str(where.folder / "mlflow"), str(where.mlflow_port)]
    return daemon.spawn(where.tag("mlflow"), command, where.log("mlflow"), cwd=ROOT)


def wait(where: Place, server: daemon.Daemon) -> None:
    """Until it answers. Raises ResourceError when it ends by itself or takes too long."""
    # The first question makes the tables; two at once would trip over each other, so its answer is waited for.
    first = f"{where.mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    place.wait("MLflow's server", first, server, where.log("mlflow"), START_S, answer_s=START_S)


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
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for what nobody does here
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # the relay is on loopback
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # it is the server
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
