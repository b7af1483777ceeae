"""Envoy's configuration as JSON values. Pure: settings and a route in, dictionaries out.

Names and fields are those of Envoy's v3 API (https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api). JSON and not
YAML: in YAML `n` and `off` are booleans.

A user's cluster and a mirror's cluster are two, though they lead to the same slot: the mirror's has a small limit of
requests under way (what exceeds it is dropped, users are not delayed), and counts of users' requests stay apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway import guard
from gateway.settings import SLOTS, Route, Settings, Slot

Json = dict[str, Any]

ROUTES = "users"
USERS_PATHS = ("/v1/", "/predict", "/health/")  # what of a slot is for users; /metrics is not
PROBE_PATH = "/gateway"
MANIFEST_HEADER = "x-assay-manifest"
UNLIMITED = 1_000_000  # Envoy's own defaults (1024) would refuse long streams; the server has its queue's limit
IDLE_S = 30  # less than the server's keep-alive of 75 s, so that it is never the server that closes first
CONNECT_S = 2
UPSTREAM_FAILURES = ("UH", "UF", "UO", "UC", "URX", "UR")  # of which the client hears in OpenAI's form of an error

_TYPE = "type.googleapis.com/envoy"
_HTTP = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPE}.extensions.filters.http.router.v3.Router"
_FILE_LOG = f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog"
_OPTIONS = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"

# `%NAME%` is Envoy's; numbers stay numbers in JSON.
ACCESS_LOG: Json = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "slot_request_id": "%RESP(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "manifest": f"%RESP({MANIFEST_HEADER.upper()})%",
    "generation": "%ROUTE_NAME%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
}


def mirror_cluster(slot: Slot) -> str:
    """The cluster that mirrored requests take."""
    return f"{slot}-mirror"


def bootstrap(settings: Settings) -> Json:
    """The file that Envoy starts with: admin socket, listener, and where to find clusters and routes."""
    rds = {"route_config_name": ROUTES, "config_source": _watched(settings.routes_file)}
    return {
        "node": {"id": "assay-gateway", "cluster": "assay"},
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": _watched(settings.clusters_file)},
        "static_resources": {"listeners": [_listener(settings, settings.port, {"rds": rds})]},
    }


def for_validation(settings: Settings, routes: list[Route]) -> Json:
    """The same clusters and `routes` without discovery, a listener each: `envoy --mode validate` reads no files."""
    listeners = [
        _listener(settings, 1 + number, {"route_config": routes_resource(route)})
        for number, route in enumerate(routes)
    ]
    return {"static_resources": {"listeners": listeners, "clusters": cluster_resources(settings)}}


def clusters(settings: Settings) -> Json:
    """The discovery response for clusters."""
    resources = [
        {"@type": f"{_TYPE}.config.cluster.v3.Cluster", **cluster} for cluster in cluster_resources(settings)
    ]
    return {"version_info": "1", "resources": resources}


def cluster_resources(settings: Settings) -> list[Json]:
    """Two clusters a slot: users' and mirrored requests."""
    return [
        _cluster(name, settings.slot_port(slot), limit)
        for slot in SLOTS
        for name, limit in ((slot, UNLIMITED), (mirror_cluster(slot), settings.max_mirrored))
    ]


def routes(route: Route) -> Json:
    """The discovery response for the route; `version_info` is its generation."""
    resource = {"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", **routes_resource(route)}
    return {"version_info": str(route.generation), "resources": [resource]}


def routes_resource(route: Route) -> Json:
    """Only `USERS_PATHS` lead to a slot. `PROBE_PATH` is answered by the worker itself, from the route it has."""
    action = _forward(route) if route.live else _no_live_slot()
    name = str(route.generation)  # for the access log
    paths = [
        {"name": name, "match": {"prefix" if path.endswith("/") else "path": path}, **action} for path in USERS_PATHS
    ]
    unknown = {"name": name, "match": {"prefix": "/"}, **_answer(404, _error("no such path", "not_found"))}
    probe = {"match": {"path": PROBE_PATH}, **_answer(200, as_json(route))}
    host = {"name": f"generation-{name}", "domains": ["*"], "routes": [probe, *paths, unknown]}
    return {"name": ROUTES, "virtual_hosts": [host]}


def as_json(route: Route) -> Json:
    """What `PROBE_PATH` answers."""
    return {
        "generation": route.generation,
        "live": route.live,
        "mirror": route.mirror,
        "mirror_percent": route.mirror_percent,
        "other_percent": route.other_percent,
    }


def _forward(route: Route) -> Json:
    shares = {slot: 100 - route.other_percent if slot == route.live else route.other_percent for slot in SLOTS}
    weights = [{"name": slot, "weight": round(100 * share)} for slot, share in shares.items()]
    action: Json = {
        "weighted_clusters": {"clusters": weights},
        "timeout": "0s",  # a stream lasts as long as it lasts; the server limits a request's time
        # Only what the slot cannot have begun: nothing of the request had been sent.
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        },
    }
    if route.mirror and route.mirror_percent > 0:
        share = {"numerator": round(route.mirror_percent * 10_000), "denominator": "MILLION"}
        action["request_mirror_policies"] = [
            {"cluster": mirror_cluster(route.mirror), "runtime_fraction": {"default_value": share}}
        ]
    return {"route": action}


def _no_live_slot() -> Json:
    return _answer(503, _error("no version is live yet", "no_live_slot"), {"retry-after": "5"})


def _error(message: str, code: str) -> Json:
    """In OpenAI's form, as the slots' own errors."""
    return {"error": {"message": message, "type": "gateway_error", "param": None, "code": code}}


def _answer(status: int, body: Json, headers: Mapping[str, str] | None = None) -> Json:
    """Answered by Envoy itself."""
    named = {"content-type": "application/json"} | dict(headers or {})
    return {
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(body)}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in named.items()
        ],
    }


def _cluster(name: str, port: int, max_requests: int) -> Json:
    limits = {"max_connections": UNLIMITED, "max_pending_requests": max_requests, "max_requests": max_requests}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_S}s",
        "circuit_breakers": {"thresholds": [{**limits, "max_retries": UNLIMITED}]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _OPTIONS,
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": f"{IDLE_S}s"},
            }
        },
    }


def _listener(settings: Settings, port: int, routing: Json) -> Json:
    probes = {"name": ":path", "string_match": {"exact": PROBE_PATH}, "invert_match": True}
    manager = {
        "@type": _HTTP,
        "stat_prefix": ROUTES,
        **routing,
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "0s",  # a stream may be quiet for long: a large prompt, a full queue
        "http_filters": [
            *guard.filters(settings),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}},
        ],
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "filter": {"header_filter": {"header": probes}},
                "typed_config": {
                    "@type": _FILE_LOG,
                    "path": str(settings.access_log),
                    "log_format": {"json_format": ACCESS_LOG},
                },
            }
        ],
        "local_reply_config": {
            "mappers": [
                {
                    "filter": {"response_flag_filter": {"flags": list(UPSTREAM_FAILURES)}},
                    "body_format_override": {"json_format": _error("%LOCAL_REPLY_BODY%", "slot_unreachable")},
                },
                *guard.replies(_error),
            ]
        },
    }
    return {
        "name": f"{ROUTES}-{port}",
        "address": {"socket_address": {"address": settings.host, "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _watched(path: Path) -> Json:
    """A file that is replaced by a rename: Envoy watches its folder."""
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": source}
