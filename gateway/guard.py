"""Who may pass the gateway, and how often: Envoy's own filters, as JSON values. Off unless params ask for them. Pure.

Fields are those of envoy.extensions.filters.http.jwt_authn.v3 and .local_ratelimit.v3 (Envoy 1.40). Both hold for
requests that generate; health checks need no token and have no limit, as the gateway's own probe. A token ends here:
slots see no Authorization header, so their own keys (ASSAY_API_KEYS_FILE) are for use without tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.params import JwtParams, RateLimitParams
from gateway.settings import Settings

Json = dict[str, Any]

GUARDED = r"/(v1/.*|predict(\?.*)?)"  # of `:path`, as a whole
SUBJECT = "jwt"  # where the token's claims are kept for the filters that follow

_TYPE = "type.googleapis.com/envoy.extensions.filters.http"
_JWT = "envoy.filters.http.jwt_authn"
_RATE = "envoy.filters.http.local_ratelimit"


def filters(settings: Settings) -> list[Json]:
    """In order: a token first, so that the limit can count by its subject."""
    found = []
    if settings.jwt:
        found.append({"name": _JWT, "typed_config": _jwt(settings.jwt)})
    if settings.rate_limit:
        found.append({"name": _RATE, "typed_config": _rate(settings.rate_limit, by_subject=settings.jwt is not None)})
    return found


def replies(error: Callable[[str, str], Json]) -> list[Json]:
    """For Envoy's own refusals: a body in OpenAI's form, which `error` makes of a message and a code."""

    def reply(status: int, code: str) -> Json:
        value = {"default_value": status, "runtime_key": f"gateway.{code}"}
        return {
            "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}},
            "body_format_override": {"json_format": error("%LOCAL_REPLY_BODY%", code)},
        }

    return [
        reply(status, code)
        for status, code in ((401, "invalid_token"), (403, "invalid_token"), (429, "rate_limited"))
    ]


def _jwt(params: JwtParams) -> Json:
    provider: Json = {
        "issuer": params.issuer,
        "local_jwks": {"filename": str(params.jwks.resolve())},
        "payload_in_metadata": SUBJECT,
        "require_expiration": True,
    }
    if params.audiences:
        provider["audiences"] = params.audiences
    rule = {"match": {"safe_regex": {"regex": GUARDED}}, "requires": {"provider_name": "assay"}}
    return {"@type": f"{_TYPE}.jwt_authn.v3.JwtAuthentication", "providers": {"assay": provider}, "rules": [rule]}


def _rate(params: RateLimitParams, by_subject: bool) -> Json:
    """A descriptor without a value has a bucket for each value; the bucket for all others has no end."""
    claim = {"key": _JWT, "path": [{"key": SUBJECT}, {"key": "sub"}]}
    subject = {"descriptor_key": "subject", "default_value": "none", "metadata_key": claim}
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": GUARDED}}}
    actions = [
        {"header_value_match": {"descriptor_value": "generation", "headers": [path]}},
        {"metadata": subject} if by_subject else {"remote_address": {}},
    ]
    entries = [
        {"key": "header_match", "value": "generation"},
        {"key": "subject" if by_subject else "remote_address"},
    ]
    wait = {"key": "retry-after", "value": str(params.per_s)}
    return {
        "@type": f"{_TYPE}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "users",
        "token_bucket": {"max_tokens": 4_294_967_295, "tokens_per_fill": 4_294_967_295, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
        "always_consume_default_token_bucket": False,
        "rate_limits": [{"actions": actions}],
        "descriptors": [
            {
                "entries": entries,
                "token_bucket": {
                    "max_tokens": params.requests,
                    "tokens_per_fill": params.requests,
                    "fill_interval": f"{params.per_s}s",
                },
            }
        ],
        "max_dynamic_descriptors": params.callers,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "response_headers_to_add": [{"header": wait, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }
