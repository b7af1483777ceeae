"""Takes MLflow's webhook for alias `approved` and starts the GitLab pipeline that rolls the version out.

    python -m pipelines.relay                                   # listens on http://127.0.0.1:8200/webhooks/mlflow
    python -m pipelines.relay --register-webhook https://relay.example.com/webhooks/mlflow

Environment: ASSAY_WEBHOOK_SECRET or ASSAY_WEBHOOK_SECRET_FILE, MLFLOW_TRACKING_URI, and those of rollout/gitlab.py.
What happens from the click to the pipeline, and what each failure does: docs/approval.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from approval import secret
from core import cli, params
from core.errors import AssayError
from registry import store
from rollout import approval_subscription, approval_trigger, desk, gitlab
from rollout.aliases import MlflowRegistry
from rollout.approval import Pipelines
from rollout.approval_inbox import Answer, Inbox
from rollout.approval_record import ApprovalRecord
from rollout.approval_subscription import PATH
from rollout.params import RolloutSettings
from serving import logs

MAX_BODY_BYTES = 64 * 1024  # MLflow's message has some 200
LOG = logging.getLogger("assay.relay")


class Carrier(threading.Thread):
    """Carries what is wanted to GitLab, one at a time, beside the requests; at the start also what was left over."""

    def __init__(self, inbox: Inbox, pipelines: Pipelines) -> None:
        super().__init__(name="carrier", daemon=True)
        self._inbox, self._pipelines = inbox, pipelines
        self._wanted, self._ending = threading.Event(), threading.Event()
        self._wanted.set()

    def wake(self) -> None:
        """Something is wanted."""
        self._wanted.set()

    def end(self, wait_s: float) -> None:
        """No further try; the one under way may finish."""
        self._ending.set()
        self._wanted.set()
        self.join(wait_s)

    def run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ending.is_set():
                return
            self._carry()

    def _carry(self) -> None:
        inbox = self._inbox
        try:
            found = approval_trigger.carry(
                inbox.record, inbox.registry, self._pipelines, inbox.environment, inbox.model_name, inbox.who,
                source="relay", sleep=self._ending.wait,
            )  # fmt: skip
        except AssayError as error:
            LOG.error("left to reconcile: %s", error)
            return
        if found is not None:
            line = {"approval": found.id, "version": found.model_version, "standing": found.standing}
            LOG.info(found.why, extra={"fields": line | {"pipeline_url": found.pipeline_url}})


def app(inbox: Inbox, pipelines: Pipelines, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """`POST /webhooks/mlflow` and `GET /health`."""
    carrier = Carrier(inbox, pipelines)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        carrier.start()
        yield
        await run_in_threadpool(carrier.end, gitlab.TIMEOUT_S + 1)

    made = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @made.post(PATH)
    async def webhook(request: Request) -> JSONResponse:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_body_bytes:  # whatever Content-Length said
                return _answered(request, Answer(413, "too_large", f"more than {max_body_bytes} bytes"))
        answer = await run_in_threadpool(inbox.receive, request.headers, bytes(body))
        if answer.status == 202:
            carrier.wake()
        return _answered(request, answer)

    @made.get("/health")
    async def health() -> JSONResponse:
        newest = await run_in_threadpool(inbox.record.newest_approval, inbox.environment, inbox.model_name)
        status = "ok" if carrier.is_alive() else "carrier ended: restart the relay"
        content = {"status": status, "newest_approval": newest.standing if newest else None}
        return JSONResponse(content, 200 if carrier.is_alive() else 503)

    return made


def _answered(request: Request, answer: Answer) -> JSONResponse:
    """One line, whatever was answered. The body of a stranger is not logged."""
    found = answer.approval
    line = {
        "status": answer.status,
        "outcome": answer.outcome,
        "delivery": answer.delivery,
        "version": found.model_version if found else None,
        "approval": found.id if found else None,
        "client": request.client.host if request.client else None,
    }
    LOG.log(logging.WARNING if answer.status >= 400 else logging.INFO, answer.why, extra={"fields": line})
    content = {"outcome": answer.outcome, "why": answer.why}
    return JSONResponse(content, answer.status, {"Retry-After": "2"} if answer.status == 503 else None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="put a proxy with TLS before it to be reached from afar")
    parser.add_argument("--port", type=int, default=8200)
    parser.add_argument("--environment", help="default: rollout.environment in params.yaml")
    parser.add_argument("--register-webhook", metavar="URL", help="tell MLflow where the relay is reached, and end")
    options = parser.parse_args(argv)
    logs.configure()
    key = secret.read("ASSAY_WEBHOOK_SECRET")
    # MLflow waits 30 s for an answer; its client would ask a dead server for minutes. 503 makes it send again.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if options.register_webhook:
        approval_subscription.register(store.connect(), options.register_webhook, key)
        return
    settings, pipelines = params.load(RolloutSettings), gitlab.connect()
    name = settings.model.name
    inbox = Inbox(
        record=ApprovalRecord(settings.rollout.record),
        registry=MlflowRegistry(name),
        environment=options.environment or settings.rollout.environment,
        model_name=name,
        secret=key,
        who=desk.who(),
    )
    LOG.info("listening on http://%s:%s%s for model %s", options.host, options.port, PATH, name)
    uvicorn.run(
        app(inbox, pipelines), host=options.host, port=options.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=5, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
