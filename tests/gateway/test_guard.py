"""Tokens and rate limits at a real Envoy: good and bad tokens, a bucket for each caller."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from core.errors import ConfigError
from core.files import write_text
from gateway.params import JwtParams, RateLimitParams
from rehearsal import local_target
from rollout.targets import Version, local
from rollout.targets.local import LocalTarget

ISSUER, AUDIENCE = "https://issuer.example", "assay"
REQUESTS = 5
BODY = {"text": "1 2 3", "max_tokens": 8}


class Issuer:
    """Signs tokens with one key and publishes it."""

    def __init__(self, key_id: str) -> None:
        self.key_id, self._key = key_id, ec.generate_private_key(ec.SECP256R1())

    def publish(self, path: Path) -> None:
        public: dict[str, Any] = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        write_text(path, json.dumps({"keys": [public | {"kid": self.key_id, "alg": "ES256", "use": "sig"}]}))

    def token(self, subject: str, **claims: Any) -> str:
        known = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time()) + 600}
        return jwt.encode(known | claims, self._key, algorithm="ES256", headers={"kid": self.key_id})


Guarded = tuple[LocalTarget, Issuer]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, versions: tuple[Version, Version]) -> Iterator[Guarded]:
    """A gateway with both, and version 1 live."""
    folder, issuer = tmp_path_factory.mktemp("g"), Issuer("one")
    jwks = folder / "keys" / "jwks.json"
    issuer.publish(jwks)
    rules = {
        "jwt": JwtParams(issuer=ISSUER, audiences=[AUDIENCE], jwks=jwks),
        "rate_limit": RateLimitParams(requests=REQUESTS, per_s=60),
    }
    with local_target.stack(folder / "s", **rules) as (settings, target):
        local.up(settings, versions[0])
        yield target, issuer


def _ask(target: LocalTarget, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{target.gateway.url}/predict", json=BODY, headers=headers, timeout=30)


def test_a_good_token_passes_and_no_other(guarded: Guarded) -> None:
    target, issuer = guarded
    assert _ask(target, issuer.token("ada")).status_code == 200
    refused = {
        "no token": None,
        "not a token": "abc",
        "expired": issuer.token("ada", exp=int(time.time()) - 120),
        "without an end": issuer.token("ada", exp=None),
        "another issuer": issuer.token("ada", iss="https://other.example"),
        "another key": Issuer("one").token("ada"),
    }
    codes = {name: _ask(target, token).status_code for name, token in refused.items()}
    assert set(codes.values()) == {401}, codes
    assert _ask(target, issuer.token("ada", aud="other")).status_code == 403
    error = _ask(target, None).json()["error"]
    assert error["code"] == "invalid_token"
    assert "missing" in error["message"].lower()


def test_health_needs_no_token_and_the_openai_paths_do(guarded: Guarded) -> None:
    url = guarded[0].gateway.url
    assert httpx.get(f"{url}/health/ready").status_code == 200
    assert httpx.get(f"{url}/v1/models").status_code == 401
    assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer x"}).status_code == 401


def test_each_subject_has_a_rate_of_its_own(guarded: Guarded) -> None:
    target, issuer = guarded
    answers = [_ask(target, issuer.token("eve")) for _ in range(REQUESTS + 2)]
    assert [answer.status_code for answer in answers] == [200] * REQUESTS + [429] * 2
    refused = answers[-1]
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.json()["error"]["code"] == "rate_limited"
    assert _ask(target, issuer.token("bob")).status_code == 200
    for _ in range(2 * REQUESTS):  # neither health nor the probe that confirms a route is counted
        assert httpx.get(f"{target.gateway.url}/health/live").status_code == 200
    target.gateway.route("blue", "green", 50)
    target.gateway.route("blue")
    assert _ask(target, issuer.token("eve")).status_code == 429, "a new route gives nobody a new bucket"


def test_a_key_set_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    rules = JwtParams(issuer=ISSUER, jwks=tmp_path / "none.json")
    with local_target.stack(tmp_path / "s", jwt=rules) as (_, target):
        with pytest.raises(ConfigError, match=r"none\.json"):
            target.gateway.start()


def test_without_tokens_the_limit_is_by_address(tmp_path: Path, versions: tuple[Version, Version]) -> None:
    with local_target.stack(tmp_path / "s", rate_limit=RateLimitParams(requests=2)) as (settings, target):
        local.up(settings, versions[0])
        assert [_ask(target, None).status_code for _ in range(3)] == [200, 200, 429]
