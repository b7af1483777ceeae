"""One Argo `Rollout` (blueGreen): its ReplicaSets are the slots, Argo keeps the services and runs its own analysis.

    python -m rollout.targets.argo --version 1 | kubectl apply -f -      once, with the first version
    python -m pipelines.promote --target argo --version 1                then `adopt` it as champion

A start patches the pod template, a switch promotes, going back sets the former template again, which Argo lets
through at once while that ReplicaSet is kept (scaleDownDelaySeconds). When Argo's own analysis fails it aborts by
itself, and the state machine sees the slot or the route gone.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pydantic import Field

from core.errors import TargetError
from rollout.params import RolloutParams, RolloutSettings
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Target, Version
from rollout.targets.cluster import deployment, mirror, pods, promql
from rollout.targets.cluster.api import Api, Object, at
from rollout.targets.cluster.deployment import ClusterOptions

GROUP, NAME = "argoproj.io/v1alpha1", "assay"
HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
DEADLINE = "scale-down-deadline"  # annotation of a ReplicaSet that is kept for a while
LOOK_S = 0.1


class Options(ClusterOptions):
    """`rollout.targets.argo` in params.yaml."""

    keep_s: int = Field(default=86400, ge=1, description="how long the old slot stays for a rollback")
    prometheus: str = Field(default="http://prometheus.monitoring.svc:9090", description="Argo's analysis asks it")


def connect(settings: RolloutSettings) -> ArgoTarget:
    """The Rollout `assay` in the namespace of the options."""
    return ArgoTarget(settings)


def manifests(settings: RolloutSettings, version: Version) -> list[Object]:
    """Services, AnalysisTemplates and the Rollout that begins with `version` in blue."""
    rollout, options = settings.rollout, _options(settings)
    analysis = [
        promql.template("assay-before", options.namespace, rollout.before, options.prometheus, baseline=True),
        promql.template("assay-after", options.namespace, rollout.after, options.prometheus, baseline=False),
    ]
    return analysis + _render(rollout, options, "blue", version)


class ArgoTarget(Target):
    """See rollout.targets.Target. What dies is the kubelet's to start again."""

    def __init__(self, settings: RolloutSettings) -> None:
        self._settings, self._options = settings.rollout, _options(settings)
        self._api = Api(self._options.namespace, self._settings.timeouts.call_s)

    def observe(self) -> Observation:
        rollout, sets = self._rollout(), self._sets()
        active = next((one for one in sets if rollout and _hash(one) == _active(rollout)), None)
        mirrored, problems = mirror.seen(self._api)
        return Observation(
            live=_slot_of(active) if active else None,
            generation=_revision(active) if active else None,
            slots={slot: self._slot(slot, sets) for slot in SLOTS},
            mirrored=mirrored,
            problems=(*problems, *_problems(rollout)),
        )

    def start(self, slot: Slot, version: Version) -> None:
        rollout = self._needed()
        seen = self.observe()
        if seen.live == slot and seen.slots[slot].digest != version.digest:
            raise TargetError(f"{slot} is live and serves {str(seen.slots[slot].digest)[:12]}: it is not replaced")
        wanted = _render(self._settings, self._options, slot, version)[-1]
        live = seen.slots[seen.live].digest if seen.live else None
        annotations = {"assay/digest": version.digest, "assay/baseline": live or "none"}
        if rollout["spec"]["template"] != wanted["spec"]["template"]:
            self._set_template(rollout, wanted["spec"]["template"], annotations)
        elif rollout.get("status", {}).get("abort"):
            self._status({"abort": False})  # what `kubectl argo rollouts retry` does

    def stop(self, slot: Slot, grace_s: float) -> None:
        # The pods' own terminationGracePeriodSeconds, set from the same params, ends those that do not drain.
        rollout, seen = self._rollout(), self.observe()
        if rollout is None or seen.slots[slot].empty:
            return
        if seen.live == slot:
            raise TargetError(f"{slot} is live: it is not stopped")
        for one in self._sets():
            if _slot_of(one) != slot or not one["spec"].get("replicas"):
                continue
            if _hash(one) == rollout["status"].get("currentPodHash"):
                self._status({"abort": True})
            else:
                now = {"metadata": {"annotations": {DEADLINE: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}}}
                self._api.merge(self._api.path("apps/v1", "replicasets", one["metadata"]["name"]), now)

    def mirror(self, slot: Slot | None, percent: float) -> None:
        mirror.point(self._api, slot, percent, self._options.port)

    def switch(self, slot: Slot) -> int:
        deadline = time.monotonic() + self._settings.timeouts.call_s
        rollout = self._needed()
        alive = [one for one in self._sets() if _slot_of(one) == slot and one["spec"].get("replicas")]
        if not alive:
            raise TargetError(f"{slot} has no ReplicaSet to switch to")
        wanted = max(alive, key=_revision)
        current = rollout.get("status", {}).get("currentPodHash")
        if _hash(wanted) == _active(rollout):
            if current != _hash(wanted) and not rollout["status"].get("pauseConditions"):
                self._status({"abort": True})  # a promotion under way must not arrive later
        elif _hash(wanted) == current:
            self._status({"pauseConditions": None})  # what `kubectl argo rollouts promote` does
        else:  # what `kubectl argo rollouts undo` does: the template as it was, without Argo's own label
            template = wanted["spec"]["template"]
            labels = {key: value for key, value in template["metadata"]["labels"].items() if key != HASH}
            back = template | {"metadata": template["metadata"] | {"labels": labels}}
            self._set_template(rollout, back, {"assay/digest": back["metadata"]["annotations"]["assay/digest"]})
        while time.monotonic() < deadline:
            if _active(self._needed()) == _hash(wanted):
                return max(_revision(one) for one in self._sets() if _hash(one) == _hash(wanted))
            time.sleep(LOOK_S)
        raise TargetError(f"Argo has not made {slot} active after {self._settings.timeouts.call_s:g} s")

    def sample(self, slot: Slot) -> Sample:
        return pods.sample(self._api, self._options, self._pods(slot), HASH)

    def _slot(self, slot: Slot, sets: list[Object]) -> SlotState:
        own = [one for one in sets if _slot_of(one) == slot and one["spec"].get("replicas")]
        newest = max(own, key=_revision, default=None)
        alive = self._pods(slot)
        ready = (
            newest is not None
            and newest.get("status", {}).get("readyReplicas", 0) == newest["spec"]["replicas"]
            and all(pod["metadata"]["labels"].get(HASH) == _hash(newest) for pod in alive)
        )
        return pods.state(self._api, self._options, slot, alive, HASH, ready)

    def _set_template(self, rollout: Object, template: Object, annotations: dict[str, str]) -> None:
        """Replace the pod template of exactly the Rollout that was read. A merge patch keeps what it does not name,
        and both templates come from one file: they differ in values only."""
        changes = at(rollout) | {"spec": {"template": template}}
        changes["metadata"]["annotations"] = annotations
        self._api.merge(self._api.path(GROUP, "rollouts", NAME), changes)

    def _status(self, changes: Object) -> None:
        self._api.merge(self._api.path(GROUP, "rollouts", f"{NAME}/status"), {"status": changes})

    def _rollout(self) -> Object | None:
        return self._api.get(self._api.path(GROUP, "rollouts", NAME))

    def _needed(self) -> Object:
        found = self._rollout()
        if found is None:
            raise TargetError(f"there is no Rollout '{NAME}': apply what `python -m rollout.targets.argo` prints")
        return found

    def _sets(self) -> list[Object]:
        items: list[Object] = self._api.listed(self._api.path("apps/v1", "replicasets"), "app=assay")["items"]
        return [one for one in items if HASH in one["metadata"].get("labels", {})]

    def _pods(self, slot: Slot) -> list[Object]:
        items: list[Object] = self._api.listed(self._api.path("v1", "pods"), f"app=assay,slot={slot}")["items"]
        return items


def _options(settings: RolloutSettings) -> Options:
    found: Options = settings.rollout.options("argo")
    return found


def _render(rollout: RolloutParams, options: Options, slot: Slot, version: Version) -> list[Object]:
    keep_s = options.keep_s if rollout.keep_previous else 1
    return deployment.render("argo.yaml.jinja", options, rollout, slot=slot, version=version, keep_s=keep_s)


def _active(rollout: Object) -> str | None:
    found: str | None = rollout.get("status", {}).get("blueGreen", {}).get("activeSelector")
    return found


def _hash(one: Object) -> str:
    return str(one["metadata"]["labels"][HASH])


def _revision(one: Object) -> int:
    return int(one["metadata"].get("annotations", {}).get(REVISION, 0))


def _slot_of(one: Object) -> Slot | None:
    name = one["spec"]["template"]["metadata"]["labels"].get("slot")
    return next((slot for slot in SLOTS if slot == name), None)


def _problems(rollout: Object | None) -> list[str]:
    """What Argo itself thinks is wrong."""
    status = (rollout or {}).get("status", {})
    found = [f"Argo: {status.get('phase')}, {status['message']}"] if status.get("message") else []
    for side in ("prePromotionAnalysisRunStatus", "postPromotionAnalysisRunStatus"):
        run = status.get("blueGreen", {}).get(side, {})
        if run.get("status") in ("Failed", "Error", "Inconclusive"):
            found.append(f"Argo's analysis {run.get('name')} is {run['status']}: {run.get('message', 'no message')}")
    return found


def main() -> None:
    import argparse

    import yaml

    from core import params
    from rollout.aliases import MlflowRegistry, fetched

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", type=int, required=True, help="number in the registry")
    settings = params.load(RolloutSettings)
    registry = MlflowRegistry(settings.model.name)
    version = fetched(settings.model.name, registry.version(parser.parse_args().version), registry)
    print(yaml.safe_dump_all(manifests(settings, version), sort_keys=False), end="")


if __name__ == "__main__":
    from core import cli

    cli.run(main)
