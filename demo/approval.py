"""From the alias `approved` to a pipeline: the relay, which MLflow's signed webhook tells of it."""

from __future__ import annotations

import sys
import time

import httpx

from core import daemon
from core.errors import ResourceError
from demo.place import Place
from models import registry
from rollout.approval_subscription import PATH, register

START_S = 60.0


def start(where: Place) -> daemon.Daemon:
    """Start the relay in the background, once MLflow answers."""
    command = [sys.executable, "-m", "pipelines.relay", "--port", str(where.relay_port)]
    return daemon.spawn(where.tag("relay"), command, where.log("relay"), cwd=where.folder)


def connect(where: Place, relay: daemon.Daemon) -> None:
    """Have MLflow send to the relay, and see that it arrives. Raises ResourceError or RegistryError."""
    address, deadline_s = f"http://127.0.0.1:{where.relay_port}", time.monotonic() + START_S
    while True:
        try:
            if httpx.get(f"{address}/health", timeout=2, trust_env=False).status_code == 200:
                break
        except httpx.HTTPError:
            pass  # not yet
        if not relay.alive or time.monotonic() > deadline_s:
            lines = where.log("relay").read_text(errors="replace").splitlines()
            raise ResourceError(f"the relay does not start: {lines[-1] if lines else 'it said nothing'}")
        time.sleep(0.1)
    register(registry.connect(), address + PATH, where.webhook_secret)
