"""Everything that decides how one server process behaves. Values come from the command line and the environment.

Secrets never come from the command line, where any user of the machine can read them: ASSAY_API_KEYS_FILE names a
file with one key a line, REDIS_URL may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import limits
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from core.errors import ConfigError, wrong_fields

ENVIRONMENT = {
    "ASSAY_API_KEYS_FILE": "api_keys_file",
    "ASSAY_RATE_LIMIT": "rate_limit",
    "REDIS_URL": "redis_url",
}

ANSWER_S = 120.0  # that an answer may take at least, its wait in the queue included
TOKEN_S = 0.1  # as rollout.after allows: 32,000 tokens of thought have 53 minutes


class Settings(BaseModel):
    """Checked when made; never changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    slot: Literal["blue", "green"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    model_name: str = Field(default="assay", description="what clients put into `model`, the same for every version")
    threads: int = Field(default=2, ge=1)
    max_batch: int = Field(default=16, ge=1)
    queue_delay_ms: float = Field(default=0.0, ge=0, description="an idle engine waits so long for a fuller batch")
    max_queue: int = Field(default=64, ge=0, description="requests that wait for a place; one more gets 429")
    max_prompt_tokens: int | None = Field(default=None, ge=1, description="default: the context less one token")
    max_output_tokens: int | None = Field(default=None, ge=1, description="upper limit of max_tokens")
    default_max_tokens: int = Field(default=512, ge=1, description="where a request names none; less if room is less")
    request_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="from arrival to the last token; none: 0.1 s a token asked for, 120 s at least",
    )
    step_limit_s: float = Field(
        default=120.0,
        gt=0,
        description="a longer step (and than 1 s for 50 MB of the version): neither ready nor live until it ends",
    )
    drain_timeout_s: float = Field(default=60.0, gt=0, description="after SIGTERM, for what runs to finish")
    linger_s: float = Field(default=0.5, ge=0, description="answer 503 so long after the last request, then close")
    rate_limit: str | None = Field(default=None, description="by known key, or by address: 100/minute")
    api_keys_file: Path | None = Field(default=None, description="bearer keys, one a line; none: no authentication")
    redis_url: SecretStr | None = Field(default=None, description="cache of deterministic answers; none: no cache")
    cache_ttl_s: int = Field(default=3600, ge=1)
    max_body_bytes: int = Field(default=1 << 20, ge=1024)

    def answer_limit_s(self, max_tokens: int) -> float:
        """From a request's arrival to its last token, for one that asks for `max_tokens`."""
        return self.request_timeout_s or max(ANSWER_S, TOKEN_S * max_tokens)

    @field_validator("rate_limit")
    @classmethod
    def _in_slowapis_words(cls, value: str | None) -> str | None:
        """slowapi only logs what it cannot read, and then limits nothing."""
        if value is not None:
            limits.parse_many(value)
        return value


def make(arguments: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from arguments over the environment over the defaults; raises ConfigError naming each wrong value."""
    values = {field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)}
    values |= {name: value for name, value in arguments.items() if value is not None}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"server settings: {wrong_fields(error)}") from error
