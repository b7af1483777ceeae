"""What Envoy says about itself, over its admin socket."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from core.errors import TargetError
from gateway.settings import Route

TIMEOUT_S = 2.0


class Admin:
    """Envoy's admin interface on a UNIX socket. Every call raises TargetError when Envoy does not answer."""

    def __init__(self, socket: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._socket, self._timeout_s = socket, timeout_s

    def ready(self) -> bool:
        """Whether the listener takes requests; False, too, when nothing answers."""
        try:
            return self._call("GET", "/ready", check=False).status_code == 200
        except TargetError:
            return False

    def route(self) -> Route | None:
        """The newest route that Envoy has accepted; None before the first one."""
        found = self._call("GET", "/config_dump?resource=dynamic_route_configs").json().get("configs", [])
        if not found or "route_config" not in found[0]:
            return None
        [host] = found[0]["route_config"]["virtual_hosts"]
        return parse(host["routes"][0]["direct_response"]["body"]["inline_string"])

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match the regular expression."""
        answer = self._call("GET", f"/stats?format=json&type=All&filter={quote(pattern, safe='')}")
        return {stat["name"]: int(stat["value"]) for stat in answer.json()["stats"] if _is_count(stat)}

    def stop_listening(self) -> None:
        """No new connection; what is open goes on, and every answer ends its connection."""
        self._call("POST", "/drain_listeners?graceful&skip_exit")

    def _call(self, method: str, path: str, check: bool = True) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=str(self._socket), verify=False)  # no TLS: loading CAs takes longer
        try:
            with httpx.Client(transport=transport, timeout=self._timeout_s, trust_env=False) as client:
                answer = client.request(method, f"http://envoy{path}")
                if check:
                    answer.raise_for_status()
                return answer
        except (httpx.HTTPError, OSError) as error:
            raise TargetError(f"the gateway's admin interface {self._socket} does not answer: {error}") from error


def parse(text: str) -> Route:
    """A route from what render.as_json wrote. Raises TargetError if it is none."""
    try:
        return Route(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise TargetError(f"the gateway runs a route that is not ours ({error}): {text[:200]}") from error


def total(stats: dict[str, int], names: Iterable[str]) -> int:
    """The sum of the named counters; one that Envoy has not made yet counts 0."""
    return sum(stats.get(name, 0) for name in names)


def _is_count(stat: dict[str, Any]) -> bool:
    return "name" in stat and isinstance(stat.get("value"), int)
