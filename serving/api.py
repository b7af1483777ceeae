"""The routes. Each reads the body, checks it, and lets stream.py write the completion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from core.errors import DataError
from serving import stream, wire
from serving.completion import Completion, begin
from serving.service import Service
from serving.wire import ApiError, Piece, json_response

Endpoint = Callable[[Request], Awaitable[Response]]
GENERATION = ("/v1/chat/completions", "/v1/completions", "/predict")


def wants_fresh(request: Request) -> bool:
    """Whether the client refuses a completion from the cache (RFC 9111, section 5.2.1.4)."""
    return "no-cache" in request.headers.get("cache-control", "").lower()


def router(service: Service, limited: Callable[[Endpoint], Endpoint]) -> APIRouter:
    """All routes; `limited` puts the rate limit around those that generate."""
    routes = APIRouter()

    async def chat(request: Request) -> Response:
        """OpenAI's chat completions."""
        body = wire.parse(wire.ChatCompletionRequest, await body_of(request, service))
        prompt = chat_prompt(service, [message.model_dump() for message in body.messages])
        max_tokens = body.max_completion_tokens or body.max_tokens
        completion = begin(service, body, prompt, max_tokens, split=True, fresh=wants_fresh(request))
        return await _openai(request, service, body, completion, chat=True)

    async def completions(request: Request) -> Response:
        """OpenAI's text completions: the prompt as it is, the completion unsplit."""
        body = wire.parse(wire.CompletionRequest, await body_of(request, service))
        words = service.tokenizer
        with _prompt_faults("prompt"):
            prompt = words.encode(body.prompt) if isinstance(body.prompt, str) else words.checked(body.prompt)
        completion = begin(service, body, prompt, body.max_tokens, split=False, fresh=wants_fresh(request))
        return await _openai(request, service, body, completion, chat=False)

    async def predict(request: Request) -> Response:
        """The guide's endpoint: {"text", "max_tokens"} to {"result", ...}."""
        body = wire.parse(wire.PredictRequest, await body_of(request, service)).model_copy(update={"stream": False})
        prompt = chat_prompt(service, [{"role": "user", "content": body.text}])
        completion = begin(service, body, prompt, body.max_tokens, split=True, fresh=wants_fresh(request))
        request.scope["assay"]["completion"] = completion

        def write(piece: Piece) -> dict[str, Any]:
            return {
                "result": piece.content,
                "reasoning": piece.reasoning,
                "finish_reason": completion.finish,
                "input_length": len(prompt),
                "output_length": completion.completion_tokens,
                "manifest_sha256": service.digest,
                "cached": completion.cached,
            }

        return await stream.whole(request, completion, write)

    for path, endpoint in zip(GENERATION, (chat, completions, predict), strict=True):
        routes.add_api_route(path, limited(endpoint), methods=["POST"], response_model=None)
    routes.add_api_route("/v1/models", _models(service), methods=["GET"], response_model=None)
    _health(routes, service)
    return routes


async def _openai(
    request: Request, service: Service, body: wire.GenerationRequest, completion: Completion, chat: bool
) -> Response:
    request.scope["assay"]["completion"] = completion
    shape = wire.Shape(chat, body.model or service.settings.model_name, service.digest)
    if body.stream:
        return await stream.events(request, completion, shape, body.wants_usage)

    def write(piece: Piece) -> dict[str, Any]:
        usage = wire.usage(completion.prompt_tokens, completion.completion_tokens)
        return shape.whole(piece, completion.finish, usage)

    return await stream.whole(request, completion, write)


async def body_of(request: Request, service: Service) -> bytes:
    """The request's body; raises ApiError 413 once it is longer than allowed."""
    limit = service.settings.max_body_bytes
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > limit:
            raise ApiError(413, f"the body is longer than {limit} bytes", "body_too_long")
        parts.append(part)
    return b"".join(parts)


def chat_prompt(service: Service, messages: list[dict[str, Any]]) -> list[int]:
    """The messages in the version's chat template; what the template refuses is the client's error."""
    from jinja2 import TemplateError

    try:
        with _prompt_faults("messages"):
            return service.tokenizer.chat(messages)
    except TemplateError as error:
        raise ApiError(
            400, f"the chat template refuses these messages: {error}", "bad_messages", "messages"
        ) from None


@contextmanager
def _prompt_faults(param: str) -> Iterator[None]:
    """A text or ids that are no prompt for this model are the client's error."""
    try:
        yield
    except DataError as error:
        raise ApiError(400, str(error), "invalid_value", param) from None


def _models(service: Service) -> Endpoint:
    async def models(request: Request) -> Response:
        """OpenAI's list of models: one entry, with the version behind it."""
        entry = {"id": service.settings.model_name, "object": "model", "created": 0, "owned_by": "assay"}
        return json_response({"object": "list", "data": [entry | {"root": service.digest}]})

    return models


def _health(routes: APIRouter, service: Service) -> None:
    async def live(request: Request) -> Response:
        """200 as long as the process is of use: an engine that failed or hangs needs a restart."""
        why = service.trouble
        return json_response({"status": "failed" if why else "live", "why": why}, 503 if why else 200)

    async def ready(request: Request) -> Response:
        """200 as long as new requests are welcome."""
        state = {
            "status": "ready" if service.ready else "draining" if service.draining else "failed",
            "manifest_sha256": service.digest,
            "slot": service.settings.slot,
            "inflight": service.inflight,
        }
        return json_response(state, 200 if service.ready else 503)

    async def metrics(request: Request) -> Response:
        """Prometheus' exposition format: see serving/metrics.py."""
        text = service.metrics.text(lambda: service.scheduler.waiting)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    routes.add_api_route("/health/live", live, methods=["GET"], response_model=None)
    routes.add_api_route("/health/ready", ready, methods=["GET"], response_model=None)
    routes.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)
