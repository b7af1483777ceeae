"""The ASGI application of one version: routes, rate limit, and the layer that every request passes through."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import api, auth
from serving.completion import ClientGone, Completion
from serving.logs import REQUESTS, SERVER
from serving.metrics import gpu_memory_used_bytes
from serving.service import Service
from serving.wire import ApiError

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # what may stand in a log and a header as it came
CLOSE = [(b"connection", b"close")]  # while stopping: a client's next request should find another slot


def create(service: Service) -> ASGIApp:
    """The application. The scheduler starts with it and is stopped by whoever loaded it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.scheduler.start()
        yield
        if service.cache:
            await service.cache.close()

    application = FastAPI(title="Assay", lifespan=lifespan)
    limiter = Limiter(key_func=_by_key if service.keys.checked else _by_address)
    application.state.limiter = limiter

    def limited(endpoint: api.Endpoint) -> api.Endpoint:
        if service.settings.rate_limit is None:
            return endpoint
        wrapped: api.Endpoint = limiter.shared_limit(service.settings.rate_limit, scope="generation")(endpoint)
        return wrapped

    application.include_router(api.router(service, limited))
    application.add_exception_handler(RateLimitExceeded, _too_many)
    application.add_exception_handler(ApiError, _api_error)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(Exception, _bug)
    return Layer(application, service)


class Layer:
    """Names the version on every response; checks keys, counts and logs each request for generation."""

    def __init__(self, inner: ASGIApp, service: Service) -> None:
        self._inner, self._service = inner, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["assay"] = {"request_id": request_id}
        headers = [
            (b"x-assay-manifest", self._service.digest.encode()),
            (b"x-assay-slot", self._service.settings.slot.encode()),
            (b"x-request-id", request_id.encode()),
        ]

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["assay"].setdefault("status", message["status"])
                close = CLOSE if self._service.draining else []
                message["headers"] = [*message["headers"], *headers, *close]
            await send(message)

        run = self._counted if scope["path"] in api.GENERATION and scope["method"] == "POST" else self._open
        try:
            await run(scope, receive, send_named)
        except ClientGone:
            scope["assay"]["status"] = 499
        except Exception:
            SERVER.exception("a bug", extra={"fields": {"request_id": request_id}})
            raise

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/v1/"):
            try:
                self._service.keys.check(Request(scope).headers)
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        began_s = time.perf_counter()
        service.inflight += 1
        service.metrics.inflight.inc()
        try:
            try:
                service.keys.check(Request(scope).headers)
                service.admit()
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
            await self._inner(scope, receive, send)
        except ClientGone:
            scope["assay"]["status"] = 499
        except BaseException:
            scope["assay"]["status"] = 500
            raise
        finally:
            service.inflight -= 1
            service.metrics.inflight.dec()
            _log(service, scope, time.perf_counter() - began_s)


def _request_id(scope: Scope) -> str:
    """The gateway's or the client's own, so that their logs and ours can be joined; a new one if it is none."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _log(service: Service, scope: Scope, seconds: float) -> None:
    noted = scope["assay"]
    status = noted.get("status", 499)
    completion: Completion | None = noted.get("completion")
    service.metrics.request(status, scope["path"])
    key = auth.key_of(Request(scope).headers)
    fields = {
        "request_id": noted["request_id"],
        "input_length": completion.prompt_tokens if completion else None,
        "output_length": completion.completion_tokens if completion else None,
        "inference_time": round(seconds, 6),
        "gpu_memory_used": gpu_memory_used_bytes(),
        "digest": service.digest,
        "slot": service.settings.slot,
        "status": status,
        "endpoint": scope["path"],
        "finish_reason": completion.finish if completion else None,
        "cached": completion.cached if completion else None,
        "key_id": auth.key_id(key) if key else None,
    }
    REQUESTS.info("request", extra={"fields": fields})


def _by_key(request: Request) -> str:
    """Whom a rate limit counts where every request has a known key."""
    return auth.key_id(auth.key_of(request.headers) or "")


def _by_address(request: Request) -> str:
    """… and where nobody checks keys: a new one for each request would be a new caller."""
    return request.client.host if request.client else "unknown"


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail), "http", headers=error.headers).response()


async def _bug(request: Request, error: Exception) -> Response:
    """What the client is told; starlette raises the error again, and `Layer` logs it."""
    return ApiError(500, "an unexpected error, see the server's log", "bug").response()


async def _too_many(request: Request, error: Exception) -> Response:
    assert isinstance(error, RateLimitExceeded)
    wait_s = str(error.limit.limit.get_expiry()) if error.limit else "1"
    return ApiError(429, f"rate limit: {error.detail}", "rate_limited", headers={"Retry-After": wait_s}).response()
