"""From the alias `approved` to a pipeline: the relay, which MLflow's signed webhook tells of it."""

from __future__ import annotations

import sys

from approval.webhook import PATH, subscribe
from demo import place
from demo.place import Place
from host import daemon
from registry import store

START_S = 60.0


def start(where: Place) -> daemon.Daemon:
    """Start the relay in the background, once MLflow answers."""
    command = [sys.executable, "-m", "pipelines.relay", "--port", str(where.relay_port)]
    return daemon.spawn(where.tag("relay"), command, where.log("relay"), cwd=where.folder)


def connect(where: Place, relay: daemon.Daemon) -> None:
    """Have MLflow send to the relay, and see that it arrives. Raises ResourceError or RegistryError."""
    address = f"http://127.0.0.1:{where.relay_port}"
    place.wait("the relay", f"{address}/health", relay, where.log("relay"), START_S, answer_s=2)
    subscribe(store.connect(), address + PATH, where.webhook_secret)
