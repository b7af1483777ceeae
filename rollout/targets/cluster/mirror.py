"""Copies of users' requests for one slot: a RequestMirror filter in the Gateway API's HTTPRoute `assay`.

The gateway sends copies and forgets them; no user waits for one.
"""

from __future__ import annotations

import time

from core.errors import TargetError
from rollout.targets import SLOTS, Slot
from rollout.targets.cluster.api import Api, Conflict, Object, at

ROUTE = "assay"


def seen(api: Api) -> tuple[Slot | None, tuple[str, ...]]:
    """The mirrored slot, and what is wrong with the route."""
    route = api.get(_path(api))
    if route is None:
        return None, (f"there is no HTTPRoute '{ROUTE}': nothing can be mirrored",)
    names = {
        part["requestMirror"]["backendRef"]["name"]
        for rule in route["spec"]["rules"]
        for part in rule.get("filters", [])
        if part["type"] == "RequestMirror"
    }
    return next((slot for slot in SLOTS if f"assay-{slot}" in names), None), ()


def point(api: Api, slot: Slot | None, percent: float, port: int) -> None:
    """Mirror to `slot`, or to none; a conflict is tried again on what is there, until the API's time-out."""
    deadline = time.monotonic() + api.timeout_s
    while True:
        route = api.get(_path(api))
        if route is None:
            if slot is None:
                return
            raise TargetError(f"there is no HTTPRoute '{ROUTE}': apply deploy/kubernetes/rollout")
        rules = [_with_mirror(rule, slot, percent, port) for rule in route["spec"]["rules"]]
        if rules == route["spec"]["rules"]:
            return
        try:
            api.merge(_path(api), at(route) | {"spec": {"rules": rules}})
            return
        except Conflict:
            if time.monotonic() >= deadline:
                raise


def _with_mirror(rule: Object, slot: Slot | None, percent: float, port: int) -> Object:
    """`rule` with our mirror filter, or without; other filters stay."""
    others = [part for part in rule.get("filters", []) if part["type"] != "RequestMirror"]
    ours: list[Object] = []
    if slot is not None:
        back = {"name": f"assay-{slot}", "port": port}
        ours = [{"type": "RequestMirror", "requestMirror": {"backendRef": back, "percent": round(percent)}}]
    kept = {key: value for key, value in rule.items() if key != "filters"}
    return kept | ({"filters": others + ours} if others + ours else {})


def _path(api: Api) -> str:
    return api.path("gateway.networking.k8s.io/v1", "httproutes", ROUTE)
