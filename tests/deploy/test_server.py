"""The guide's Deployment: three replicas, one GPU each, on port 8000, its image by digest, as CI leaves it."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml

from ci import build_image
from pipelines import params
from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT

IMAGE = "registry.example/group/assay/server@sha256:" + 64 * "1"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """By kind, as `build` leaves them in deployment.yaml."""
    return {found["kind"]: found for found in yaml.safe_load_all(build_image.deployment(IMAGE))}


@pytest.fixture(scope="module")
def container(objects: dict[str, Any]) -> Any:
    [found] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_every_object_fits_kubernetes_own_schema(objects: dict[str, Any]) -> None:
    assert objects.keys() == {"Deployment", "Service", "PodDisruptionBudget"}
    for one in objects.values():
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_three_replicas_with_one_gpu_each_on_the_port_that_params_name(
    objects: dict[str, Any], container: Any
) -> None:
    assert objects["Deployment"]["spec"]["replicas"] == 3
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    cluster = params.load(ROOT / "params.yaml").rollout.options("kubernetes")
    [port] = container["ports"]
    assert port["containerPort"] == cluster.port == 8000
    [served] = objects["Service"]["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (cluster.port, port["name"])
    assert {found["metadata"]["namespace"] for found in objects.values()} == {cluster.namespace}


def test_service_and_budget_select_the_pods(objects: dict[str, Any]) -> None:
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_container_has_one_name_everywhere(container: Any) -> None:
    pod = (ROOT / "deploy" / "kubernetes" / "rollout" / "pod.yaml.jinja").read_text()
    assert f"- name: {container['name']}\n" in pod
    told = "".join(
        file.read_text() for file in (ROOT / "deploy/kubernetes/server/kustomization.yaml", ROOT / "docs" / "ci.md")
    )
    named = re.findall(r"set image deployment/assay-server (\w+)=", told)
    assert len(named) >= 2
    assert set(named) == {container["name"]}


def test_the_image_is_named_by_its_digest_and_nothing_by_latest(container: Any) -> None:
    assert container["image"] == IMAGE
    for file in (ROOT / "deploy").rglob("*.yaml*"):
        for image in re.findall(r"^\s*(?:- )?image: (\S+)", file.read_text(), re.MULTILINE):
            assert "@sha256:" in image or "{{" in image, f"{file}: {image}"
    assert "@sha256:" in params.load(ROOT / "params.yaml").rollout.options("kubernetes").image


def test_a_pod_may_write_to_tmp_alone_and_has_time_to_drain(objects: dict[str, Any], container: Any) -> None:
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    assert str(spec["securityContext"]["runAsUser"]) == dockerfile.values("USER")[0].split(":")[0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert dockerfile.values("WORKDIR") == ["/tmp"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/dev/shm"}
    command = dockerfile.command()
    drain_s = int(command[command.index("--drain-timeout-s") + 1])
    assert spec["terminationGracePeriodSeconds"] > drain_s
