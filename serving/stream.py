"""Completions on the wire: whole, or as server-sent events; and what happens when the client goes away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.completion import ClientGone, Completion
from serving.wire import ApiError, Piece, Shape, json_response, usage

EVENT_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def whole(request: Request, completion: Completion, write: Callable[[Piece], dict[str, Any]]) -> Response:
    """The whole completion as one JSON object, `write` shapes it."""
    pieces = []
    async with _watching(request.receive, completion):
        async for piece in completion.pieces():
            pieces.append(piece)
    content = "".join(piece.content for piece in pieces)
    reasoning = "".join(piece.reasoning for piece in pieces)
    return json_response(write(Piece(content, reasoning)))


async def events(request: Request, completion: Completion, shape: Shape, with_usage: bool) -> Response:
    """A stream. The first piece is awaited here, so that an early failure still has its own HTTP status."""
    pieces = completion.pieces()
    async with _watching(request.receive, completion):
        try:
            first = await anext(pieces)
        except StopAsyncIteration:
            first = Piece()
    return EventStream(completion, shape, first, pieces, with_usage)


class EventStream(Response):
    """Server-sent events in OpenAI's form, ended by `[DONE]`. A failure in mid-stream is an `error` event."""

    def __init__(
        self, completion: Completion, shape: Shape, first: Piece, pieces: AsyncIterator[Piece], with_usage: bool
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Content-Type": "text/event-stream; charset=utf-8", **EVENT_HEADERS})
        self._completion, self._shape, self._first, self._pieces = completion, shape, first, pieces
        self._with_usage = with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every piece as soon as it is there."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with _watching(receive, self._completion):
            try:
                await _send(send, _event(self._shape.chunk(self._first, first=True)))
                async for piece in self._pieces:
                    await _send(send, _event(self._shape.chunk(piece)))
                await _send(send, self._ending())
            except ApiError as error:
                scope["assay"]["status"] = error.status
                await _send(send, _event(error.body()))
            except ClientGone:
                scope["assay"]["status"] = 499
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _ending(self) -> bytes:
        completion = self._completion
        parts = [_event(self._shape.chunk(Piece(), completion.finish))]
        if self._with_usage:
            parts.append(_event(self._shape.last(usage(completion.prompt_tokens, completion.completion_tokens))))
        return b"".join([*parts, b"data: [DONE]\n\n"])


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


@asynccontextmanager
async def _watching(receive: Receive, completion: Completion) -> AsyncIterator[None]:
    """Free the completion's place as soon as the client disconnects."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        completion.leave()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
