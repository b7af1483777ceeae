"""A slot's pod on a cluster: what its version needs to start at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest

from models import manifest
from models.params import Recipe
from rollout.targets import Version
from rollout.targets.cluster import deployment
from tests.rollout.stage import REFERENCE, settings

READY_S = 90


def _pod(folder: Path, runtime: str, template: str = "slot.yaml.jinja") -> Any:
    recipe = Recipe(quantizer="none", runtime=runtime)
    manifest.write(folder, variant="v", recipe=recipe, model_folder=REFERENCE, facts={}, libraries=())
    version = Version("assay", 1, manifest.digest(folder), folder)
    rollout = settings(timeouts={"ready_s": READY_S}).rollout
    options = rollout.options("argo")
    found = deployment.render(template, options, rollout, slot="blue", version=version, keep_s=options.keep_s)[-1]
    if template.startswith("slot"):
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)
    return found["spec"]["template"]["spec"]


@pytest.mark.parametrize("template", ["slot.yaml.jinja", "argo.yaml.jinja"])
@pytest.mark.parametrize(("runtime", "cards"), [("ort", None), ("ort_cuda", "1"), ("vllm", "1"), ("tensorrt", "1")])
def test_a_version_for_a_gpu_asks_for_one(runtime: str, cards: str | None, template: str, tmp_path: Path) -> None:
    [container] = _pod(tmp_path, runtime, template)["containers"]
    assert container.get("resources", {}).get("limits", {}).get("nvidia.com/gpu") == cards


def test_nothing_kills_a_slot_while_it_loads_as_long_as_a_rollout_waits(tmp_path: Path) -> None:
    [container] = _pod(tmp_path, "ort")["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= READY_S
