"""The relay's HTTP side: `POST /webhooks/mlflow` and `GET /health`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from logging import INFO, WARNING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from approval import gitlab
from approval.standing import Pipelines
from approval.trigger import TriggerThread
from approval.webhook import LOG, PATH, Answer, Inbox

MAX_BODY_BYTES = 64 * 1024  # MLflow's message has some 200


def make(inbox: Inbox, pipelines: Pipelines, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """A delivery is answered once it is recorded; the pipeline is triggered afterwards, by a thread beside."""
    trigger = TriggerThread(inbox, pipelines)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        trigger.start()
        yield
        await run_in_threadpool(trigger.end, gitlab.TIMEOUT_S + 1)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post(PATH)
    async def webhook(request: Request) -> JSONResponse:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_body_bytes:  # whatever Content-Length said
                return _respond(request, Answer(413, "too_large", f"more than {max_body_bytes} bytes"))
        answer = await run_in_threadpool(inbox.receive, request.headers, bytes(body))
        if answer.status == 202:
            trigger.wake()
        return _respond(request, answer)

    @app.get("/health")
    async def health() -> JSONResponse:
        newest = await run_in_threadpool(inbox.ledger.newest_approval, inbox.environment, inbox.model_name)
        status = "ok" if trigger.is_alive() else "the trigger thread ended: restart the relay"
        content = {"status": status, "newest_approval": newest.standing if newest else None}
        return JSONResponse(content, 200 if trigger.is_alive() else 503)

    return app


def _respond(request: Request, answer: Answer) -> JSONResponse:
    """Logs one line, whatever the answer. The body of an unknown sender is not logged."""
    found = answer.approval
    line = {
        "status": answer.status,
        "outcome": answer.outcome,
        "delivery": answer.delivery,
        "version": found.model_version if found else None,
        "approval": found.id if found else None,
        "client": request.client.host if request.client else None,
    }
    LOG.log(WARNING if answer.status >= 400 else INFO, answer.why, extra={"fields": line})
    content = {"outcome": answer.outcome, "why": answer.why}
    return JSONResponse(content, answer.status, {"Retry-After": "2"} if answer.status == 503 else None)
