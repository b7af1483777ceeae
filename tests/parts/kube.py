"""A stand-in for the Kubernetes API: objects with resourceVersions, watches, and controllers that make pods.

No API server can be installed here. This one keeps to what the real one promises: optimistic locking (409), watches
that resume from a resourceVersion and end with 410 when it is too old, server-side apply, generation and
observedGeneration, pods that take time to come and to go, the pod proxy, 401 without the token.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.files import sha256_bytes

Object = dict[str, Any]
TOKEN = "a-service-accounts-token"


@dataclass
class Cluster:
    """The state of one namespace, and what is to go wrong next."""

    ready_after_s: float = 0.03
    gone_after_s: float = 0.03
    never_ready: set[str] = field(default_factory=set)  # digests
    conflicts: int = 0  # so many changes find that somebody was faster
    expired: int = 0  # so many watches find their resourceVersion too old
    slow: int = 0  # so many requests are answered too late
    slow_s: float = 1.0
    frozen_endpoints: bool = False  # the endpoint controller sleeps
    objects: dict[str, dict[str, Object]] = field(default_factory=dict)  # "group/kind" → name → object
    controllers: list[Callable[[Cluster], None]] = field(default_factory=list)
    version: int = 100
    watched: list[tuple[int, str, str, Object]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    seen: list[tuple[str, str]] = field(default_factory=list)  # method and path of every request

    def put(self, kind: str, wanted: Object) -> Object:
        """Create or replace; a new resourceVersion, and a new generation when the spec is another one."""
        with self.changed:
            name = wanted["metadata"]["name"]
            old = self.objects.setdefault(kind, {}).get(name)
            if old == wanted:
                return old
            new = copy.deepcopy(wanted)
            self.version += 1
            grew = old is not None and old.get("spec") != new.get("spec")
            new["metadata"]["generation"] = (old["metadata"]["generation"] if old else 1) + int(grew)
            new["metadata"]["resourceVersion"] = str(self.version)
            self.objects[kind][name] = new
            self._notify(kind, "ADDED" if old is None else "MODIFIED", new)
            return new

    def remove(self, kind: str, name: str) -> bool:
        with self.changed:
            old = self.objects.get(kind, {}).pop(name, None)
            if old is None:
                return False
            self.version += 1
            self._notify(
                kind, "DELETED", old | {"metadata": old["metadata"] | {"resourceVersion": str(self.version)}}
            )
            return True

    def all(self, kind: str, **labels: str) -> list[Object]:
        with self.changed:
            found = self.objects.get(kind, {}).values()
            return [
                copy.deepcopy(one) for one in found if labels.items() <= one["metadata"].get("labels", {}).items()
            ]

    def pods_for(self, owner: str, kind_label: str, template: Object, replicas: int) -> list[Object]:
        """Make the pods of one template, let old ones go when the new are ready; returns the new."""
        digest = template_hash(template)
        own = [pod for pod in self.all("v1/pods") if pod["owner"] == owner]
        new = [pod for pod in own if pod["metadata"]["labels"][kind_label] == digest]
        for index in range(replicas - len(new)):
            meta = template["metadata"]
            name = f"{owner}-{digest}-{self.version + index}"
            labels = meta["labels"] | {kind_label: digest}
            pod = {"metadata": {"name": name, "labels": labels, "annotations": meta["annotations"]}, "owner": owner}
            new.append(self.put("v1/pods", pod | {"born": time.monotonic(), "status": {"phase": "Pending"}}))
        return new

    def leave(self, pod: Object) -> None:
        """A pod was asked to go: it goes after a while."""
        if "leaves" not in pod:
            self.put("v1/pods", pod | {"leaves": time.monotonic() + self.gone_after_s})

    def ready(self, pod: Object) -> bool:
        digest = pod["metadata"]["annotations"].get("assay/digest")
        return time.monotonic() - pod["born"] >= self.ready_after_s and digest not in self.never_ready

    def tick(self) -> None:
        """One turn of every controller."""
        with self.changed:
            for pod in self.all("v1/pods"):
                if pod.get("leaves", float("inf")) <= time.monotonic():
                    self.remove("v1/pods", pod["metadata"]["name"])
                elif "leaves" not in pod:
                    phase = "Running" if self.ready(pod) else "Pending"
                    kept = pod["status"].get("containerStatuses", [{"restartCount": 0}])
                    self.put("v1/pods", pod | {"status": {"phase": phase, "containerStatuses": kept}})
            for controller in (*self.controllers, deployments, endpoints):
                controller(self)

    def _notify(self, kind: str, what: str, found: Object) -> None:
        self.watched.append((self.version, kind, what, copy.deepcopy(found)))
        self.changed.notify_all()


def template_hash(template: Object) -> str:
    """What the controllers put into the pods' label."""
    return sha256_bytes(json.dumps(template, sort_keys=True).encode())[:10]


def deployments(cluster: Cluster) -> None:
    """The Deployment controller: pods of the newest template, status with the generation it is about."""
    alive = {found["metadata"]["name"] for found in cluster.all("apps/v1/deployments")}
    for found in cluster.all("apps/v1/deployments"):
        name, wanted = found["metadata"]["name"], found["spec"]["replicas"]
        new = cluster.pods_for(name, "pod-template-hash", found["spec"]["template"], wanted)
        ready = [pod for pod in new if cluster.ready(pod)]
        names = {pod["metadata"]["name"] for pod in new}
        old = [pod for pod in cluster.all("v1/pods") if pod["owner"] == name and pod["metadata"]["name"] not in names]
        if len(ready) == wanted:
            for pod in old:
                cluster.leave(pod)
        status = {"observedGeneration": found["metadata"]["generation"], "replicas": len(new) + len(old)}
        cluster.put(
            "apps/v1/deployments",
            found | {"status": status | {"updatedReplicas": len(new), "readyReplicas": len(ready)}},
        )
    for pod in cluster.all("v1/pods"):
        if "pod-template-hash" in pod["metadata"]["labels"] and pod["owner"] not in alive:
            cluster.leave(pod)


def endpoints(cluster: Cluster) -> None:
    """The endpoint controller: ready pods that a service selects."""
    if cluster.frozen_endpoints:
        return
    for service in cluster.all("v1/services"):
        name = service["metadata"]["name"]
        chosen = [pod for pod in cluster.all("v1/pods", **service["spec"]["selector"]) if "leaves" not in pod]
        ends = [
            {"targetRef": {"name": pod["metadata"]["name"]}, "conditions": {"ready": cluster.ready(pod)}}
            for pod in chosen
        ]
        labels = {"kubernetes.io/service-name": name}
        meta = {"name": f"{name}-x", "labels": labels}
        old = cluster.objects.get("discovery.k8s.io/v1/endpointslices", {}).get(f"{name}-x", {"metadata": {}})
        cluster.put("discovery.k8s.io/v1/endpointslices", {"metadata": old["metadata"] | meta, "endpoints": ends})
