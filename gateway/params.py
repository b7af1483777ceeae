"""What params.yaml says of who may pass the gateway, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from core.params import Section


class Ports(Section):
    """Where the gateway and the two slots behind it listen."""

    port: int = Field(default=8080, ge=1, le=65535, description="where users' requests come in")
    blue_port: int = Field(default=8081, ge=1, le=65535)
    green_port: int = Field(default=8082, ge=1, le=65535)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len({self.port, self.blue_port, self.green_port}) < 3:
            raise ValueError("port, blue_port and green_port must be three different ports")
        return self


class JwtParams(Section):
    """Who may pass the local gateway: bearers of a token that one of the keys has signed. Keys are public ones."""

    issuer: str = Field(min_length=1, description="claim `iss`")
    audiences: list[str] = Field(default_factory=list, description="claim `aud`: one of them; empty: any")
    jwks: Path = Field(description="JSON Web Key Set (RFC 7517), read when the gateway starts")


class RateLimitParams(Section):
    """A token bucket for each caller: the token's `sub` where there are tokens, the address elsewhere."""

    requests: int = Field(ge=1, description="in `per_s`, all at once if need be")
    per_s: int = Field(default=60, ge=1)
    callers: int = Field(default=10_000, ge=1, description="that are remembered at a time")
