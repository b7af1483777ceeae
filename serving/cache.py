"""Answers to repeated deterministic requests, in Redis. A key holds the version's digest: never across versions.

The cache may only ever save time. Every call has a short time-out, and after a failure the circuit stays open for a
while, so that a dead Redis costs one time-out now and then, and no request.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from core import files
from core.errors import ConfigError
from serving.logs import SERVER

TIMEOUT_S = 0.1
OPEN_S = 5.0  # no call to Redis for so long after a failure

Found = tuple[Literal["hit", "miss", "down"], dict[str, Any] | None]


class Cache:
    """`get` and `put` never raise and never take longer than about `TIMEOUT_S`."""

    def __init__(self, url: str, digest: str, ttl_s: int) -> None:
        try:
            pool = BlockingConnectionPool.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, max_connections=32, timeout=TIMEOUT_S
            )
        except ValueError:  # its text may hold a part of the password
            raise ConfigError(
                "REDIS_URL is not a Redis URL (redis://[user:password@]host:port/number): is a character of the "
                "password not percent-encoded?"
            ) from None
        self._redis = Redis.from_pool(pool)
        self._digest, self._ttl_s = digest, ttl_s
        self._closed_again_s = 0.0

    def key(self, request: dict[str, Any]) -> str:
        """The key of a normalised request: everything that decides its answer, and the version."""
        normal = orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
        return f"assay:{self._digest}:{files.sha256_bytes(normal)}"

    async def get(self, key: str) -> Found:
        """What is stored under `key`."""
        if time.monotonic() < self._closed_again_s:
            return "down", None
        try:
            content = await self._redis.get(key)
            return ("hit", orjson.loads(content)) if content else ("miss", None)
        except (RedisError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
            self._open(error)
            return "down", None

    async def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer for the time to live."""
        if time.monotonic() < self._closed_again_s:
            return
        try:
            await self._redis.set(key, orjson.dumps(answer), ex=self._ttl_s)
        except (RedisError, OSError, TimeoutError) as error:
            self._open(error)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _open(self, error: Exception) -> None:
        self._closed_again_s = time.monotonic() + OPEN_S
        SERVER.warning("the cache does not answer, going on without it", extra={"fields": {"why": str(error)}})
