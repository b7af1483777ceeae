"""The JSON that clients send and get: OpenAI's chat and text completions, the guide's /predict, and errors.

Unknown fields are ignored, as OpenAI-compatible servers do; a known field that this server cannot honour is an error,
never silently dropped.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.responses import Response

Stops = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=4)]
LEAST = 1e-5  # of a temperature and of top_p; below it the answer is the greedy one
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable",
    504: "timeout_error",
}
Kind = TypeVar("Kind", bound="GenerationRequest")


class ApiError(Exception):
    """What a client gets instead of a completion. The message says what to change, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """{"error": {...}} as OpenAI's clients read it."""
        kind = ERROR_TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole HTTP response."""
        return json_response(self.body(), self.status, self.headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON by orjson."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


class StreamOptions(BaseModel):
    include_usage: bool = False


class GenerationRequest(BaseModel):
    """What every endpoint takes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=1 << 63, description="engines keep it in 64 bits")
    stop: Stops = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = Field(default=False, description="vLLM's extension: for load tests")
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None

    @field_validator("temperature")
    @classmethod
    def _greedy_when_as_good_as_0(cls, value: float | None) -> float | None:
        """Logits divided by less overflow, in float32 and further down in float64: that ended the whole engine."""
        return 0.0 if value is not None and value < LEAST else value

    @field_validator("top_p")
    @classmethod
    def _one_token_at_least(cls, value: float | None) -> float | None:
        return value if value is None else max(value, LEAST)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [] if value is None else [value] if isinstance(value, str) else value

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class Message(BaseModel):
    """`content` may be parts of text; other parts need a model that reads them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("role", mode="before")
    @classmethod
    def _developer_is_system(cls, value: Any) -> Any:
        return "system" if value == "developer" else value

    @field_validator("content", mode="before")
    @classmethod
    def _join_text_parts(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
            return "".join(str(part.get("text", "")) for part in value)
        return "" if value is None else value


class ChatCompletionRequest(GenerationRequest):
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    tools: None = None
    response_format: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def _text_only(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only {'type': 'text'} is supported")
        return value


class CompletionRequest(GenerationRequest):
    prompt: str | list[int]
    echo: Literal[False] | None = None
    suffix: None = None
    best_of: Literal[1] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
            return value[0]
        return value


class PredictRequest(GenerationRequest):
    text: str = Field(min_length=1)


def parse(kind: type[Kind], body: bytes) -> Kind:
    """The request in `body`; raises ApiError 400 that names the first wrong field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise ApiError(400, f"{where}: {first['msg']}", "invalid_value", where) from None


@dataclass(frozen=True)
class Piece:
    """Text that new tokens added, already free of stop strings."""

    content: str = ""
    reasoning: str = ""

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's counts; reasoning and end tokens are not listed apart."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class Shape:
    """How one endpoint writes a completion, whole or as chunks of a stream."""

    def __init__(self, chat: bool, model: str, digest: str) -> None:
        self.chat = chat
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": digest,
        }

    def whole(self, piece: Piece, finish: str, counts: dict[str, int]) -> dict[str, Any]:
        """The whole response."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self.chat:
            message: dict[str, Any] = {"role": "assistant", "content": piece.content}
            if piece.reasoning:
                message["reasoning_content"] = piece.reasoning
            choice["message"] = message
        else:
            choice["text"] = piece.content
        return {**self._head, "choices": [choice], "usage": counts}

    def chunk(self, piece: Piece, finish: str | None = None, first: bool = False) -> dict[str, Any]:
        """One chunk; only the last one has a `finish`."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self.chat:
            delta: dict[str, Any] = {"role": "assistant"} if first else {}
            if piece.reasoning:
                delta["reasoning_content"] = piece.reasoning
            if piece.content or (first and not piece.reasoning):
                delta["content"] = piece.content
            choice["delta"] = delta
        else:
            choice["text"] = piece.content
        return {**self._head, "object": self._chunk_object, "choices": [choice]}

    def last(self, counts: dict[str, int]) -> dict[str, Any]:
        """The chunk of usage counts that follows the last choice."""
        return {**self._head, "object": self._chunk_object, "choices": [], "usage": counts}

    @property
    def _chunk_object(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"
