"""Blue and green Deployments behind one Service, whose selector is patched. Mirroring by Gateway API's HTTPRoute.

    kubectl apply -k deploy/kubernetes/rollout     once: services, route, rights

The patch carries the Service's resourceVersion: if anything else changed it meanwhile it is refused (409) and tried
on what is there now. A switch is confirmed when the Service's endpoints are the new slot's pods.
"""

from __future__ import annotations

import time

from core.errors import TargetError
from core.params import Params
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Version, _deployment, _pods
from rollout.targets._kube import Api, Conflict, Object

GENERATION = "assay/generation"
HASH = "pod-template-hash"
ROUTE, SERVICE = "assay", "assay"


def connect(settings: Params) -> KubernetesTarget:
    """Blue and green in `rollout.kubernetes.namespace`."""
    return KubernetesTarget(settings)


class KubernetesTarget:
    """See rollout.targets.Target."""

    def __init__(self, settings: Params) -> None:
        self._settings, self._kube = settings.rollout, settings.rollout.kubernetes
        self._api = Api(self._kube.namespace, self._settings.timeouts.call_s)

    def observe(self) -> Observation:
        service, route = self._service(), self._api.get(self._route())
        return Observation(
            live=_selected(service),
            generation=_generation(service) or None,
            slots={slot: self._slot(slot) for slot in SLOTS},
            mirrored=_mirrored(route),
            problems=() if route else (f"there is no HTTPRoute '{ROUTE}': nothing can be mirrored",),
        )

    def start(self, slot: Slot, version: Version) -> None:
        found = self._slot(slot)
        if found.ready and found.digest != version.digest and _selected(self._service()) == slot:
            raise TargetError(f"{slot} is live and serves {str(found.digest)[:12]}: it is not replaced")
        (wanted,) = _deployment.render("slot.yaml.jinja", self._settings, slot=slot, version=version)
        self._api.apply(self._deployment(slot), wanted)

    def stop(self, slot: Slot, grace_s: float) -> None:
        # The pods' own terminationGracePeriodSeconds, set from the same params, ends those that do not drain.
        if _selected(self._service()) == slot and not self._slot(slot).empty:
            raise TargetError(f"{slot} is live: it is not stopped")
        self._api.delete(self._deployment(slot))

    def mirror(self, slot: Slot | None, percent: float) -> None:
        deadline = time.monotonic() + self._settings.timeouts.call_s
        while True:
            route = self._api.get(self._route())
            if route is None:
                raise TargetError(f"there is no HTTPRoute '{ROUTE}': apply deploy/kubernetes/rollout")
            rules = [_with_mirror(rule, slot, percent, self._kube.port) for rule in route["spec"]["rules"]]
            if rules == route["spec"]["rules"]:
                return
            try:
                self._api.merge(self._route(), _at(route) | {"spec": {"rules": rules}})
                return
            except Conflict:
                if time.monotonic() >= deadline:
                    raise

    def switch(self, slot: Slot) -> int:
        deadline = time.monotonic() + self._settings.timeouts.call_s
        while _selected(service := self._service()) != slot:
            generation = str(_generation(service) + 1)
            changes = _at(service) | {"spec": {"selector": {"app": "assay", "slot": slot}}}
            changes["metadata"]["annotations"] = {GENERATION: generation}
            try:
                self._api.merge(self._api.path("v1", "services", SERVICE), changes)
            except Conflict:
                if time.monotonic() >= deadline:
                    raise
        names = {pod["metadata"]["name"] for pod in self._pods(slot)}

        def taken(slices: list[Object]) -> bool:
            ends = [end for part in slices for end in part.get("endpoints", [])]
            ready = [end["targetRef"]["name"] for end in ends if end.get("conditions", {}).get("ready")]
            return bool(ready) and set(ready) <= names

        path = self._api.path("discovery.k8s.io/v1", "endpointslices")
        if not self._api.until(path, f"kubernetes.io/service-name={SERVICE}", taken, deadline):
            limit_s = self._settings.timeouts.call_s
            raise TargetError(f"the endpoints of service '{SERVICE}' are not {slot}'s pods after {limit_s:g} s")
        return _generation(service)

    def sample(self, slot: Slot) -> Sample:
        return _pods.sample(self._api, self._kube, self._pods(slot), HASH)

    def _slot(self, slot: Slot) -> SlotState:
        found = self._api.get(self._deployment(slot))
        status = (found or {}).get("status", {})
        ready = (
            found is not None
            and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 1)
            and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == found["spec"]["replicas"]
            and status.get("replicas", 0) == found["spec"]["replicas"]
        )
        return _pods.state(self._api, self._kube, slot, self._pods(slot), HASH, ready)

    def _pods(self, slot: Slot) -> list[Object]:
        items: list[Object] = self._api.listed(self._api.path("v1", "pods"), f"app=assay,slot={slot}")["items"]
        return items

    def _service(self) -> Object:
        found = self._api.get(self._api.path("v1", "services", SERVICE))
        if found is None:
            raise TargetError(f"there is no service '{SERVICE}': apply deploy/kubernetes/rollout")
        return found

    def _deployment(self, slot: Slot) -> str:
        return self._api.path("apps/v1", "deployments", f"assay-{slot}")

    def _route(self) -> str:
        return self._api.path("gateway.networking.k8s.io/v1", "httproutes", ROUTE)


def _at(found: Object) -> Object:
    """A change of exactly the object that was read."""
    return {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}


def _selected(service: Object) -> Slot | None:
    name = service["spec"].get("selector", {}).get("slot")
    return next((slot for slot in SLOTS if slot == name), None)


def _generation(service: Object) -> int:
    return int(service["metadata"].get("annotations", {}).get(GENERATION, 0))


def _mirrored(route: Object | None) -> Slot | None:
    names = {
        part["requestMirror"]["backendRef"]["name"]
        for rule in (route or {"spec": {"rules": []}})["spec"]["rules"]
        for part in rule.get("filters", [])
        if part["type"] == "RequestMirror"
    }
    return next((slot for slot in SLOTS if f"assay-{slot}" in names), None)


def _with_mirror(rule: Object, slot: Slot | None, percent: float, port: int) -> Object:
    """`rule` with our mirror filter, or without; other filters stay."""
    others = [part for part in rule.get("filters", []) if part["type"] != "RequestMirror"]
    ours: list[Object] = []
    if slot is not None:
        back = {"name": f"assay-{slot}", "port": port}
        ours = [{"type": "RequestMirror", "requestMirror": {"backendRef": back, "percent": round(percent)}}]
    kept = {key: value for key, value in rule.items() if key != "filters"}
    return kept | ({"filters": others + ours} if others + ours else {})
