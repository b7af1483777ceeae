"""What params.yaml says of who may pass the gateway, and how often."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.params import Section


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
