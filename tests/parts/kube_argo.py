"""Argo Rollouts' controller for the stand-in: blueGreen with a manual promotion, as rollout/bluegreen.go does it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tests.parts.kube import Cluster, Object, template_hash

ROLLOUTS, SETS = "argoproj.io/v1alpha1/rollouts", "apps/v1/replicasets"
HASH, REVISION, DEADLINE = "rollouts-pod-template-hash", "rollout.argoproj.io/revision", "scale-down-deadline"


def controller(cluster: Cluster) -> None:
    for rollout in cluster.all(ROLLOUTS):
        status = dict(rollout.get("status", {}))
        green = dict(status.get("blueGreen", {}))
        new = _new_set(cluster, rollout)
        current, active = new["metadata"]["labels"][HASH], green.get("activeSelector")
        if status.get("currentPodHash") != current:  # another template: pauses and aborts are forgotten
            status = {"currentPodHash": current}
        ready = len([pod for pod in _pods(cluster, new) if cluster.ready(pod)]) == rollout["spec"]["replicas"]
        kept = DEADLINE in new["metadata"]["annotations"]
        if current != active and ready and not status.get("abort"):
            if active and not kept and not status.get("controllerPause"):
                status |= {"controllerPause": True, "pauseConditions": [{"reason": "BlueGreenPause"}]}
            elif active is None or kept or not status.get("pauseConditions"):
                _keep(cluster, rollout, active)
                green["activeSelector"] = current
                status |= {"controllerPause": False, "pauseConditions": None}
        green["previewSelector"] = current
        for one in cluster.all(SETS):
            _scale(cluster, rollout, one, green.get("activeSelector"), status)
        _select(cluster, green)
        cluster.put(ROLLOUTS, rollout | {"status": status | {"blueGreen": green}})


def _new_set(cluster: Cluster, rollout: Object) -> Object:
    """The ReplicaSet of the present template; its revision is the newest."""
    template = rollout["spec"]["template"]
    name = f"assay-{template_hash(template)}"
    sets = cluster.all(SETS)
    newest = max((int(one["metadata"]["annotations"][REVISION]) for one in sets), default=0)
    found = next((one for one in sets if one["metadata"]["name"] == name), None)
    if found is None:
        labels = template["metadata"]["labels"] | {HASH: template_hash(template)}
        own = template | {"metadata": template["metadata"] | {"labels": labels}}
        meta = {"name": name, "labels": labels, "annotations": {REVISION: str(newest + 1)}}
        return cluster.put(SETS, {"metadata": meta, "spec": {"template": own, "replicas": 0}, "status": {}})
    if int(found["metadata"]["annotations"][REVISION]) < newest:
        notes = found["metadata"]["annotations"] | {REVISION: str(newest + 1)}
        return cluster.put(SETS, found | {"metadata": found["metadata"] | {"annotations": notes}})
    return found


def _scale(cluster: Cluster, rollout: Object, one: Object, active: str | None, status: Object) -> None:
    own = one["metadata"]["labels"][HASH]
    notes = dict(one["metadata"]["annotations"])
    if own == active:
        notes.pop(DEADLINE, None)
    until = notes.get(DEADLINE)
    waits = until is not None and datetime.fromisoformat(until) > datetime.now(UTC)
    wanted = own == active or waits or (own == status["currentPodHash"] and not status.get("abort"))
    replicas = rollout["spec"]["replicas"] if wanted else 0
    pods = _pods(cluster, one)
    if replicas:
        template = one["spec"]["template"]
        labels = {key: value for key, value in template["metadata"]["labels"].items() if key != HASH}
        plain = template | {"metadata": template["metadata"] | {"labels": labels}}
        pods = cluster.pods_for(one["metadata"]["name"], HASH, plain, replicas)
    else:
        for pod in pods:
            cluster.leave(pod)
    ready = [pod for pod in pods if cluster.ready(pod)]
    new = one | {"metadata": one["metadata"] | {"annotations": notes}, "spec": one["spec"] | {"replicas": replicas}}
    cluster.put(SETS, new | {"status": {"replicas": len(pods), "readyReplicas": len(ready)}})


def _keep(cluster: Cluster, rollout: Object, active: str | None) -> None:
    delay = timedelta(seconds=rollout["spec"]["strategy"]["blueGreen"]["scaleDownDelaySeconds"])
    for one in cluster.all(SETS):
        if one["metadata"]["labels"][HASH] == active:
            until = (datetime.now(UTC) + delay).isoformat()
            notes = one["metadata"]["annotations"] | {DEADLINE: until}
            cluster.put(SETS, one | {"metadata": one["metadata"] | {"annotations": notes}})


def _select(cluster: Cluster, green: Object) -> None:
    for name, own in (("assay", green.get("activeSelector")), ("assay-preview", green["previewSelector"])):
        service = cluster.objects["v1/services"][name]
        selector = {"app": "assay"} | ({HASH: own} if own else {})
        cluster.put("v1/services", service | {"spec": service["spec"] | {"selector": selector}})


def _pods(cluster: Cluster, one: Object) -> list[Object]:
    return [pod for pod in cluster.all("v1/pods") if pod["owner"] == one["metadata"]["name"] and "leaves" not in pod]


def until_paused(cluster: Cluster, limit_s: float = 10) -> None:
    """Wait until Argo waits for a promotion."""
    deadline = time.monotonic() + limit_s
    while not cluster.objects[ROLLOUTS]["assay"]["status"].get("pauseConditions"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
