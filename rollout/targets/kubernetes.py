"""Blue and green Deployments behind one Service, whose selector is patched. Mirroring by Gateway API's HTTPRoute.

    kubectl apply -k deploy/kubernetes/rollout     once: services, route, rights

The patch carries the Service's resourceVersion: if anything else changed it meanwhile it is refused (409) and tried
on what is there now. A switch is confirmed when the Service's endpoints are the new slot's pods.
"""

from __future__ import annotations

import time

from core.errors import TargetError
from rollout.params import RolloutSettings
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Version, _deployment, _mirror, _pods
from rollout.targets._kube import Api, Conflict, Object, at

GENERATION = "assay/generation"
HASH = "pod-template-hash"
SERVICE = "assay"


def connect(settings: RolloutSettings) -> KubernetesTarget:
    """Blue and green in `rollout.kubernetes.namespace`."""
    return KubernetesTarget(settings)


class KubernetesTarget:
    """See rollout.targets.Target."""

    def __init__(self, settings: RolloutSettings) -> None:
        self._settings, self._kube = settings.rollout, settings.rollout.kubernetes
        self._api = Api(self._kube.namespace, self._settings.timeouts.call_s)

    def observe(self) -> Observation:
        service, (mirrored, problems) = self._service(), _mirror.seen(self._api)
        return Observation(
            live=_selected(service),
            generation=_generation(service) or None,
            slots={slot: self._slot(slot) for slot in SLOTS},
            mirrored=mirrored,
            problems=problems,
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
        _mirror.point(self._api, slot, percent, self._kube.port)

    def switch(self, slot: Slot) -> int:
        deadline = time.monotonic() + self._settings.timeouts.call_s
        while _selected(service := self._service()) != slot:
            generation = str(_generation(service) + 1)
            changes = at(service) | {"spec": {"selector": {"app": "assay", "slot": slot}}}
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


def _selected(service: Object) -> Slot | None:
    name = service["spec"].get("selector", {}).get("slot")
    return next((slot for slot in SLOTS if slot == name), None)


def _generation(service: Object) -> int:
    return int(service["metadata"].get("annotations", {}).get(GENERATION, 0))
