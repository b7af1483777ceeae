"""Starts what a demo stands on: MLflow, the champion behind Envoy, and the relay that hears of approvals."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from approval.webhook import PATH, subscribe
from core.progress import say
from demo import versions
from demo.sandbox import ROOT, Sandbox
from demo.versions import Entry
from host import daemon
from registry import store
from rehearsal import mlflow_server
from rehearsal.processes import wait_until_ready
from rollout.targets import local


def start(sandbox: Sandbox, entries: Sequence[Entry]) -> None:
    """Returns when MLflow knows all versions, the first one is live and approvals arrive.

    Raises ResourceError, RegistryError or TargetError with what did not start.
    """
    say("starting MLflow, Envoy and the champion")
    command = mlflow_server.command(sandbox.folder / "mlflow", sandbox.mlflow_port)
    server = daemon.spawn(sandbox.tag("mlflow"), command, sandbox.log("mlflow"), cwd=ROOT)
    target, champion = local.connect(sandbox.settings), entries[0].version
    target.start("blue", champion)  # it loads meanwhile
    mlflow_server.wait(sandbox.mlflow_port, lambda: server.alive, sandbox.log("mlflow"))
    command = [sys.executable, "-m", "pipelines.relay", "--port", str(sandbox.relay_port)]
    relay = daemon.spawn(sandbox.tag("relay"), command, sandbox.log("relay"), cwd=sandbox.folder)
    versions.register(entries)
    address = f"http://127.0.0.1:{sandbox.relay_port}"
    wait_until_ready("the relay", f"{address}/health", lambda: relay.alive, sandbox.log("relay"))
    subscribe(store.connect(), address + PATH, sandbox.webhook_secret)
    local.wait_ready(target, "blue", champion.digest, sandbox.settings.rollout.timeouts.ready_s)
    target.switch("blue")
