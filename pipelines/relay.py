"""Takes MLflow's webhook for alias `approved` and starts the GitLab pipeline that rolls the version out.

    python -m pipelines.relay                                   # listens on http://127.0.0.1:8200/webhooks/mlflow
    python -m pipelines.relay --register-webhook https://relay.example.com/webhooks/mlflow

Environment: ASSAY_WEBHOOK_SECRET or ASSAY_WEBHOOK_SECRET_FILE, MLFLOW_TRACKING_URI, and those of approval/gitlab.py.
What happens from the click to the pipeline, and what each failure does: docs/approval.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import uvicorn

from approval import gitlab, relay_app, webhook
from approval.ledger import ApprovalLedger
from approval.webhook import Inbox
from core import cli, params
from host import secret
from registry import store
from rollout import session
from rollout.aliases import MlflowRegistry
from rollout.params import RolloutSettings
from serving import logs


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="put a proxy with TLS before it to be reached from afar")
    parser.add_argument("--port", type=int, default=8200)
    parser.add_argument("--environment", help="default: rollout.environment in params.yaml")
    parser.add_argument("--register-webhook", metavar="URL", help="subscribe MLflow's webhook to it, and end")
    options = parser.parse_args(argv)
    logs.configure()
    key = secret.read("ASSAY_WEBHOOK_SECRET")
    # MLflow waits 30 s for an answer; its client would ask a dead server for minutes. 503 makes it send again.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if options.register_webhook:
        webhook.subscribe(store.connect(), options.register_webhook, key)
        return
    settings, pipelines = params.load(RolloutSettings), gitlab.connect()
    inbox = Inbox(
        ledger=ApprovalLedger(settings.rollout.record),
        registry=MlflowRegistry(settings.model.name),
        environment=options.environment or settings.rollout.environment,
        model_name=settings.model.name,
        secret=key,
        who=session.who(),
    )
    webhook.LOG.info("listening on http://%s:%s%s", options.host, options.port, webhook.PATH)
    uvicorn.run(
        relay_app.make(inbox, pipelines), host=options.host, port=options.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=5, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main, server=True)
