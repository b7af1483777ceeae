"""Has MLflow send its webhook for alias `approved` to the relay."""

from __future__ import annotations

import logging
from typing import Any

from core.errors import ConfigError, RegistryError
from registry import store
from rollout.approval_webhook import EVENT

PATH = "/webhooks/mlflow"  # where the relay listens
WEBHOOK = "assay-approval"  # its name in MLflow
LOG = logging.getLogger("assay.relay")


def register(client: Any, url: str, key: str) -> None:
    """Have MLflow send to `url`, and let it send a test: it arrives, and both sides have the same secret.

    Raises ConfigError when there is no server (webhooks are its work), RegistryError when the test fails.
    """
    if not store.store().startswith("http"):
        raise ConfigError(f"{store.store()} is no MLflow server: set MLFLOW_TRACKING_URI to one, it sends webhooks")
    with store.faults():
        page = client.list_webhooks(max_results=100)
        mine = [webhook for webhook in page if webhook.name == WEBHOOK]
        about = "alias `approved` starts a rollout (docs/approval.md)"
        how = {
            "url": url,
            "events": [EVENT],
            "description": about,
            "secret": key,
            "status": "ACTIVE",
        }
        made = client.update_webhook(mine[0].webhook_id, **how) if mine else client.create_webhook(WEBHOOK, **how)
        tried = client.test_webhook(made.webhook_id)
    if not tried.success:
        told = tried.error_message or f"{tried.response_status} {tried.response_body}"
        raise RegistryError(f"webhook {WEBHOOK} is registered, but its test did not arrive at {url}: {told}")
    LOG.info("webhook %s sends to %s, and a test arrived", WEBHOOK, url)
