"""From measured variants to a version in MLflow and its image: the jobs `register` and `build` of the real files.

Real: gitlab-ci-local, S3, MLflow's server, the stages `select`, `report` and `register`, kustomize. Stand-ins: the
stages that make and measure, which take what lies in `made/`, and buildah, which notes what it was asked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ci import recipes
from core import paths
from core.params import PARAMS_FILE
from models import manifest
from registry import store
from tests.ci.runner import ROOT, Checkout, checkout
from tests.parts import mlflow_server, seaweed
from tests.parts.project import listed
from tests.report import project as made

ELSEWHERE = ("tests/", "ci/", ".")  # not needed, or in every checkout
ROOMS = sorted({name.split("/")[0] for name in listed() if "/" in name and not name.startswith(ELSEWHERE)})
BASE = "registry.example/python@sha256:" + 64 * "a"
PUSHED = "sha256:" + 64 * "b"
REGISTRY = {
    "CI_REGISTRY": "registry.example", "CI_REGISTRY_IMAGE": "registry.example/group/assay",
    "CI_REGISTRY_USER": "runner", "CI_REGISTRY_PASSWORD": "secret-of-the-test", "ASSAY_BASE_IMAGE": BASE,
}  # fmt: skip
STAGES = """
export:
  cmd: sh take.sh model data-docs engines
  deps: [take.sh, made/model]
  outs: [artifacts/model, artifacts/data-docs, artifacts/engines]
calibrate:
  cmd: sh take.sh calibration
  deps: [take.sh, artifacts/model]
  outs: [artifacts/calibration]
quantize:
  foreach: ${recipes}
  do:
    cmd: sh take.sh variants/${key}
    deps: [take.sh, "made/variants/${key}", artifacts/calibration]
    params: ["recipes.${key}"]
    outs: ["artifacts/variants/${key}"]
evaluate:
  foreach: ${recipes}
  do:
    cmd: sh take.sh evaluation/${key}.json
    deps: [take.sh, "made/evaluation/${key}.json", "artifacts/variants/${key}"]
    outs: ["artifacts/evaluation/${key}.json"]
benchmark:
  foreach: ${recipes}
  do:
    cmd: sh take.sh benchmark/${key}.json
    deps: [take.sh, "made/benchmark/${key}.json", "artifacts/variants/${key}"]
    outs: ["artifacts/benchmark/${key}.json"]
confirm:
  cmd: sh take.sh confirmation.json
  deps: [take.sh, artifacts/evaluation, artifacts/benchmark]
  outs: [artifacts/confirmation.json]
"""
TAKE = """
for name in "$@"; do
  mkdir -p "artifacts/$(dirname "$name")"
  cp -r "made/$name" "artifacts/$name"
  echo "$name" >> "$TAKEN"
done
"""
BUILDAH = """#!/bin/sh
echo "$@" >> "{folder}/asked"
case "$1" in
  login) cat > "{folder}/password" ;;
  push) printf '{digest}' > "$3" ;;
esac
"""


@pytest.mark.timeout(300)
def test_what_passed_is_registered_and_its_image_built(
    tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(tmp_path, tiny_qwen2)
    monkeypatch.setenv("PATH", f"{_buildah(tmp_path / 'builder')}{os.pathsep}{os.environ['PATH']}")
    taken = tmp_path / "taken"
    with seaweed.s3(tmp_path, bucket="dvc") as s3, mlflow_server.running(tmp_path / "mlflow") as server:
        variables = {"ASSAY_DVC_REMOTE_URL": "s3://dvc/cache", "TAKEN": str(taken), **s3.environment}
        jobs_before = "source ci/environment && ci/repro-shared report && rm -r dvc.lock artifacts reports"
        subprocess.run(["bash", "-c", jobs_before], cwd=project.folder, env=os.environ | variables, check=True)
        taken.unlink()
        project.run(variables | server.environment | REGISTRY, "register", "build", isolated=True)
        assert not taken.exists(), "what was made is fetched from S3, whatever dvc.lock says"

        version = server.client().get_model_version_by_alias("assay", store.CANDIDATE)
        kept = project.folder / ".gitlab-ci-local" / "artifacts"
        done = json.loads((kept / "register" / paths.REGISTRATION).read_text())
        digest = manifest.digest(project.folder / "made" / "variants" / done["variant"])
        assert (done["model_version"], done["manifest_sha256"]) == (int(version.version), digest)
        assert (version.tags["manifest_sha256"], version.tags["validation_status"]) == (digest, "passed")
        report = server.client().list_artifacts(version.tags["evidence_run_id"], "report")
        assert [entry.path for entry in report] == ["report/index.html", "report/summary.md"]

    image = f"{REGISTRY['CI_REGISTRY_IMAGE']}/server@{PUSHED}"
    told = json.loads((kept / "build" / "image.json").read_text())
    assert told == {"image": image, "manifest_sha256": digest, "variant": done["variant"]}
    assert image in (kept / "build" / "deployment.yaml").read_text()
    login, built, pushed = (tmp_path / "builder" / "asked").read_text().splitlines()
    assert login == "login --username runner --password-stdin registry.example"
    assert (tmp_path / "builder" / "password").read_text().strip() == REGISTRY["CI_REGISTRY_PASSWORD"]
    assert f"BASE={BASE}" in built
    assert pushed.endswith(f"{REGISTRY['CI_REGISTRY_IMAGE']}/server:{digest}")


def _project(folder: Path, model: Path) -> Checkout:
    """A checkout whose stages take what is measured already; the last three are those of the real dvc.yaml."""
    found = checkout(folder / "project", *ROOMS, ".dvc/config", ".dvc/.gitignore", ".dvcignore")
    (folder / "built").mkdir()
    settings = made.build(folder / "built", model)
    shutil.copytree(folder / "built" / paths.ARTIFACTS, found.folder / "made")
    shutil.copy(folder / "built" / PARAMS_FILE, found.folder)
    for name in ("data-docs/index.html", "engines/none", "calibration/none"):
        found.write(f"made/{name}", "")
    real = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = yaml.safe_load(STAGES) | {name: real[name] for name in ("select", "report", "register")}
    found.write("dvc.yaml", yaml.safe_dump({"stages": stages}))
    found.write("take.sh", TAKE)
    found.write(str(recipes.FILE), recipes.render(settings))
    found.commit()
    return found


def _buildah(folder: Path) -> Path:
    folder.mkdir()
    (folder / "buildah").write_text(BUILDAH.format(folder=folder, digest=PUSHED))
    (folder / "buildah").chmod(0o755)
    return folder
