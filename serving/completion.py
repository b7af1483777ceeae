"""One completion from the checked request to its text: limits, cache, place in the batch, pieces, counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from core.errors import RuntimeFault
from runtimes import Sampling
from serving.metrics import Kind
from serving.scheduler import QueueFull, Request
from serving.service import Service
from serving.tokenization import Decoder
from serving.wire import ApiError, GenerationRequest, Piece

RETRY_S = 1


class ClientGone(Exception):  # noqa: N818 - not a fault
    """Nobody reads the completion any more."""


@dataclass
class Completion:
    """A request under way. `pieces` gives its text; the counts are complete once it has ended."""

    service: Service
    request: Request
    stop: tuple[str, ...]
    split: bool  # reasoning apart from content
    fresh: bool  # `Cache-Control: no-cache`: a rollout's questions must reach the engine
    finish: str = ""
    completion_tokens: int = 0
    cached: bool = False

    @property
    def prompt_tokens(self) -> int:
        return len(self.request.prompt)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The text as it comes (in one piece unless it streams). Raises ApiError or ClientGone."""
        key, kept = await self._look_up()
        if kept is not None:
            self.cached, self.finish, self.completion_tokens = True, kept["finish"], kept["completion_tokens"]
            self._count(kept["content"])
            yield Piece(kept["content"], kept["reasoning"])
            return
        content, reasoning = [], []
        async for piece in self._generate():
            content.append(piece.content)
            reasoning.append(piece.reasoning)
            yield piece
        whole = {"content": "".join(content), "reasoning": "".join(reasoning), "finish": self.finish}
        self._count(whole["content"])
        if key and self.service.cache:
            await self.service.cache.put(key, whole | {"completion_tokens": self.completion_tokens})

    def leave(self) -> None:
        """The client is gone: free the place, or take none."""
        self.service.scheduler.cancel(self.request)

    async def _generate(self) -> AsyncIterator[Piece]:
        request, scheduler = self.request, self.service.scheduler
        if request.finish is not None:  # the client left while the cache was asked
            raise ClientGone
        decoder = Decoder(self.service.tokenizer, request.prompt, self.split, self.stop)
        try:
            scheduler.submit(request)
        except QueueFull:
            raise ApiError(
                429,
                f"the queue of {self.service.settings.max_queue} is full: try again later",
                "queue_full",
                headers={"Retry-After": str(RETRY_S)},
            ) from None
        except RuntimeFault as fault:  # it failed after this request was let in
            raise ApiError(503, f"the engine has failed: {fault}", "engine_failed") from None
        loop = asyncio.get_running_loop()
        limit_s = self.service.settings.answer_limit_s(request.max_tokens)
        alarm = loop.call_later(limit_s, scheduler.cancel, request, "timeout")
        try:
            seen = 0
            while True:
                if not request.by_token:
                    await request.done()
                tokens = await request.more(seen)
                seen += len(tokens)
                ended = request.finish is not None and seen == len(request.tokens)
                if ended:
                    self._raise_if_broken(request)
                piece = decoder.feed(tokens)
                self.completion_tokens = decoder.taken
                if ended and not decoder.stopped:
                    rest = decoder.finish()
                    piece = Piece(piece.content + rest.content, piece.reasoning + rest.reasoning)
                if ended or decoder.stopped:
                    self.finish = "stop" if decoder.stopped else str(request.finish)
                if piece:
                    yield piece
                if ended or decoder.stopped:
                    return
        finally:
            alarm.cancel()
            scheduler.cancel(request)
            self.service.metrics.times(request.arrived_s, request.token_times_s)

    def _raise_if_broken(self, request: Request) -> None:
        if request.finish == "timeout":
            limit_s = self.service.settings.answer_limit_s(request.max_tokens)
            raise ApiError(504, f"no complete answer within {limit_s:g} s: ask for fewer tokens", "timeout")
        if request.finish == "cancelled":
            raise ClientGone
        if request.finish == "error":
            raise ApiError(500, f"the engine could not answer: {request.error}", "engine_error")

    async def _look_up(self) -> tuple[str | None, dict[str, Any] | None]:
        cache = self.service.cache
        if cache is None or self.fresh or self.request.sampling.temperature > 0:
            return None, None
        key = cache.key(
            {
                "prompt": self.request.prompt,
                "max_tokens": self.request.max_tokens,
                "stop": self.stop,
                "split": self.split,
                "ignore_eos": self.request.sampling.ignore_eos,
            }
        )
        result, kept = await cache.get(key)
        self.service.metrics.cache(result)
        return key if result != "down" else None, kept

    def _count(self, content: str) -> None:
        kind: Kind = "truncated" if self.finish == "length" else "ok" if content.strip() else "empty"
        self.service.metrics.answer(kind, self.prompt_tokens, self.completion_tokens)


def begin(
    service: Service,
    body: GenerationRequest,
    prompt: list[int],
    max_tokens: int | None,
    *,
    split: bool,
    fresh: bool,
) -> Completion:
    """Check a request against the limits. Raises ApiError 400 that names the limit, 404 for an unknown model."""
    if body.model is not None and body.model not in service.names:
        known = ", ".join(sorted(service.names, key=len))
        raise ApiError(404, f"no model '{body.model}' here; known: {known}", "model_not_found", "model")
    engine = service.scheduler.engine
    if (body.temperature or 0) > 0 and not engine.samples:
        raise ApiError(
            400, f"the runtime '{engine.name}' is greedy only: send temperature 0", "unsupported_value", "temperature"
        )
    if not prompt:
        raise ApiError(400, "the prompt is empty", "invalid_value", "prompt")
    if len(prompt) > service.prompt_limit:
        raise ApiError(
            400,
            f"the prompt has {len(prompt)} tokens, the limit is {service.prompt_limit}: shorten it",
            "context_length_exceeded",
            "messages",
        )
    room = engine.context_tokens - len(prompt)
    limit = min(room, service.settings.max_output_tokens or room)
    wanted = max_tokens or min(limit, service.settings.default_max_tokens)
    if wanted > limit:
        raise ApiError(
            400,
            f"max_tokens is {wanted}, but {limit} are possible after a prompt of {len(prompt)} tokens",
            "context_length_exceeded",
            "max_tokens",
        )
    sampling = Sampling(body.temperature or 0.0, body.top_p or 1.0, body.seed, body.ignore_eos)
    request = Request(prompt, wanted, sampling, by_token=body.stream or bool(body.stop))
    return Completion(service, request, tuple(body.stop), split, fresh)
