"""Blue and green Deployments behind one Service, whose selector is patched. Mirroring by Gateway API's HTTPRoute.

    kubectl apply -k deploy/kubernetes/rollout     once: services, route, rights

The patch carries the Service's resourceVersion: if anything else changed it meanwhile it is refused (409) and tried
on what is there now. A switch is confirmed when the Service's endpoints are the new slot's pods.
"""

from __future__ import annotations

import time

from core.errors import TargetError
from rollout.params import RolloutSettings
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Target, Version
from rollout.targets.cluster import deployment, mirror, pods
from rollout.targets.cluster.api import Api, Conflict, Object, at
from rollout.targets.cluster.deployment import ClusterOptions

GENERATION = "assay/generation"
HASH = "pod-template-hash"
SERVICE = "assay"


class Options(ClusterOptions):
    """`rollout.targets.kubernetes` in params.yaml."""


def connect(settings: RolloutSettings) -> KubernetesTarget:
    """Blue and green in the namespace of the options."""
    return KubernetesTarget(settings)


class KubernetesTarget(Target):
    """See rollout.targets.Target. What dies is the kubelet's to start again."""

    def __init__(self, settings: RolloutSettings) -> None:
        self._rollout = settings.rollout
        self._options: Options = settings.rollout.options("kubernetes")
        self._api = Api(self._options.namespace, self._rollout.timeouts.call_s)

    def observe(self) -> Observation:
        service, (mirrored, problems) = self._service(), mirror.seen(self._api)
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
        (wanted,) = deployment.render("slot.yaml.jinja", self._options, self._rollout, slot=slot, version=version)
        self._api.apply(self._deployment(slot), wanted)

    def stop(self, slot: Slot, grace_s: float) -> None:
        # The pods' own terminationGracePeriodSeconds, set from the same params, ends those that do not drain.
        if _selected(self._service()) == slot and not self._slot(slot).empty:
            raise TargetError(f"{slot} is live: it is not stopped")
        self._api.delete(self._deployment(slot))

    def mirror(self, slot: Slot | None, percent: float) -> None:
        mirror.point(self._api, slot, percent, self._options.port)

    def switch(self, slot: Slot) -> int:
        deadline = time.monotonic() + self._rollout.timeouts.call_s
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
            limit_s = self._rollout.timeouts.call_s
            raise TargetError(f"the endpoints of service '{SERVICE}' are not {slot}'s pods after {limit_s:g} s")
        return _generation(service)

    def sample(self, slot: Slot) -> Sample:
        return pods.sample(self._api, self._options, self._pods(slot), HASH)

    def _slot(self, slot: Slot) -> SlotState:
        found = self._api.get(self._deployment(slot))
        status = (found or {}).get("status", {})
        ready = (
            found is not None
            and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 1)
            and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == found["spec"]["replicas"]
            and status.get("replicas", 0) == found["spec"]["replicas"]
        )
        return pods.state(self._api, self._options, slot, self._pods(slot), HASH, ready)

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
