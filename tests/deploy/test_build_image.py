"""What the job `build` builds, names and leaves, with a builder that only notes what it was asked."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from ci import build_image
from core import paths
from core.errors import ConfigError, IntegrityError, ResourceError
from models import manifest
from models.params import Recipe
from models.vllm_settings import EngineSettings
from registry.records import Registration
from tests.deploy.dockerfile import ROOT
from tests.rollout.stage import REFERENCE, version

BASE = "registry.example/python@sha256:" + 64 * "a"
PUSHED = "sha256:" + 64 * "b"
BUILDAH = f"""#!/bin/sh
echo "$@" >> asked
[ "$1" = push ] && printf '{PUSHED}' > "$3"
exit 0
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registered variant, a DVC remote that has nothing new, a builder on PATH."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / paths.VARIANTS).mkdir(parents=True)
    folder = version(tmp_path / paths.VARIANTS, "int8")
    Registration(
        model_name="assay", model_version=3, variant="int8", manifest_sha256=manifest.digest(folder), run_id="r",
        alias="candidate", created=True,
    ).save(tmp_path / paths.REGISTRATION)  # fmt: skip
    _program(tmp_path / "ci" / "repro-shared", '#!/bin/sh\necho "repro-shared $@" >> asked\n')
    _program(tmp_path / "bin" / "buildah", BUILDAH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASSAY_BASE_IMAGE", BASE)
    monkeypatch.setenv("CI_REGISTRY_IMAGE", "registry.example/group/assay")
    monkeypatch.setattr("sys.argv", ["build_image"])
    return tmp_path


def test_the_image_is_tagged_by_manifest_and_deployed_by_digest(project: Path) -> None:
    build_image.main()
    digest = manifest.digest(project / paths.VARIANTS / "int8")
    fetched, built, pushed = (project / "asked").read_text().splitlines()
    assert fetched == "repro-shared quantize@int8"
    name = f"registry.example/group/assay/server:{digest}"
    assert f"--build-arg BASE={BASE}" in built
    assert "--build-arg VARIANT=artifacts/variants/int8" in built
    assert "--build-arg LOCK=deploy/docker/requirements.lock" in built
    assert f"--build-arg MANIFEST_SHA256={digest}" in built
    assert f"--tag {name} " in built
    assert pushed.endswith(name)
    told = json.loads((project / "image.json").read_text())
    image = f"registry.example/group/assay/server@{PUSHED}"
    assert told == {"image": image, "manifest_sha256": digest, "variant": "int8"}
    objects = list(yaml.safe_load_all((project / "deployment.yaml").read_text()))
    [deployment] = [found for found in objects if found["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image
    noted = deployment["metadata"]["annotations"]
    assert (noted["assay/manifest-sha256"], noted["assay/variant"]) == (digest, "int8")
    assert "assay/vllm-serve" not in noted


def test_a_version_for_vllm_says_how_its_engine_was_set(project: Path) -> None:
    folder = project / "fp8"
    folder.mkdir()
    settings = EngineSettings(quantization="compressed-tensors", max_num_seqs=64)
    manifest.write(
        folder, variant="fp8", recipe=Recipe(quantizer="fp8", runtime="vllm"), model_folder=REFERENCE,
        facts={"engine": settings.model_dump()}, libraries=(),
    )  # fmt: skip
    noted = build_image.notes(folder, manifest.read(folder))
    assert noted["assay/vllm-serve"].startswith(f"vllm serve {build_image.VERSION_IN_IMAGE} ")
    assert "--max-num-seqs=64" in noted["assay/vllm-serve"]
    assert f"COPY ${{VARIANT}} {build_image.VERSION_IN_IMAGE}\n" in (ROOT / build_image.DOCKERFILE).read_text()


def test_a_moving_base_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_BASE_IMAGE", "python:3.11")
    with pytest.raises(ConfigError, match="name the image by digest"):
        build_image.main()
    monkeypatch.delenv("ASSAY_BASE_IMAGE")
    with pytest.raises(ConfigError, match="ASSAY_BASE_IMAGE is not set"):
        build_image.main()


def test_a_runtime_with_an_environment_of_its_own_has_its_own_base(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="ASSAY_BASE_IMAGE_VLLM is not set"):
        build_image.ground("vllm")
    monkeypatch.setenv("ASSAY_BASE_IMAGE_VLLM", BASE)
    assert build_image.ground("vllm") == (BASE, Path("deploy/docker/requirements-vllm.lock"))


def test_weights_that_are_not_those_registered_are_not_built(project: Path) -> None:
    (project / paths.VARIANTS / "int8" / "weights.bin").write_bytes(b"other")
    with pytest.raises(IntegrityError):
        build_image.main()
    assert "build" not in (project / "asked").read_text()


def test_a_builder_that_fails_or_is_missing_is_told_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(project / "bin" / "buildah", "#!/bin/sh\nexit 7\n")
    with pytest.raises(ResourceError, match="`buildah build` ended with 7"):
        build_image.main()
    (project / "bin" / "buildah").unlink()
    monkeypatch.setenv("PATH", str(project / "bin"))
    with pytest.raises(ResourceError, match="is not installed here"):
        build_image.build(BASE, Path("lock"), "name", Path("folder"), "0" * 64)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
