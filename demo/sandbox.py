"""Where a demo runs: one scratch folder with its own params.yaml, free ports, and the tags of all its processes."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core import files
from rehearsal import local_target
from rehearsal.processes import free_ports
from rollout.params import RolloutSettings, RolloutTimeouts
from rollout.targets import local

ROOT = Path(__file__).parents[1]
TIMEOUTS = RolloutTimeouts(
    call_s=10, answer_s=20, verify_s=60, ready_s=90, approval_s=60, switch_s=20, drain_s=20, finish_s=60
)
# Short windows, and latency limits for a machine whose cores also serve users, MLflow and the controller.
PHASE: dict[str, Any] = {"interval_s": 2, "count": 3, "min_requests": 4, "suite_items": 12}
CALM = {
    "before": {
        "ttft": "ttft_p95_ms <= max(3 * baseline_ttft_p95_ms, 2000)",
        "itl": "itl_p95_ms <= max(3 * baseline_itl_p95_ms, 500)",
    },
    "after": {"ttft": "ttft_p95_ms <= 3000", "itl": "itl_p95_ms <= 500"},
}
FOREIGN = ("ASSAY_", "MLFLOW_", "REDIS_URL", "CI_", "GITLAB_")  # a user's own settings are not the demo's


@dataclass(frozen=True)
class Sandbox:
    """One demo's folder and ports; every process that it may start is in `tags`."""

    folder: Path
    settings: RolloutSettings
    mlflow_port: int
    relay_port: int
    gitlab_port: int
    webhook_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    trigger_token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def mlflow(self) -> str:
        """Address of MLflow's API and UI."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def tags(self) -> list[str]:
        """Of every process that it may start, for `ends_with_owner`."""
        return [*local.tags(self.settings), *(self.tag(name) for name in ("mlflow", "relay", "pipeline"))]

    def tag(self, name: str) -> str:
        return f"demo {self.folder} {name}"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def make(folder: Path) -> Sandbox:
    """Write `folder`/params.yaml, which the rollout commands read when they run there."""
    own = local_target.settings(folder / "s", TIMEOUTS, serve={"max_queue": 1000})
    phases = {
        side: getattr(own.rollout, side).model_copy(
            update=PHASE | {"success_condition": getattr(own.rollout, side).success_condition | CALM[side]}
        )
        for side in ("before", "after")
    }
    changed = {"environment": "demo", "target": "local", "record": folder / "rollout.db", "poll_s": 0.2}
    settings = own.model_copy(update={"rollout": own.rollout.model_copy(update=phases | changed)})
    files.write_text(folder / "params.yaml", yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    mlflow, relay, gitlab = free_ports(3)
    return Sandbox(folder, settings, mlflow, relay, gitlab)


def environment(sandbox: Sandbox) -> None:
    """Set this process's environment, which every process of the demo inherits; a user's own settings go."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ |= {
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "MLFLOW_TRACKING_URI": sandbox.mlflow,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "ASSAY_WEBHOOK_SECRET": sandbox.webhook_secret,
        "ASSAY_GITLAB_URL": f"http://127.0.0.1:{sandbox.gitlab_port}",
        "ASSAY_GITLAB_PROJECT": "demo/assay",
        "ASSAY_GITLAB_TRIGGER_TOKEN": sandbox.trigger_token,
    }
