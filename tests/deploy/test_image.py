"""The server's image: what can be proved without pulling a base image, and a server from exactly what it holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from export import fused
from models import manifest, tokenizer_identity
from models.params import Recipe
from pipelines import params
from rehearsal.processes import free_ports
from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT

LOCK = ROOT / "deploy" / "docker" / "requirements.lock"


def test_the_linter_finds_nothing() -> None:
    program = Path(sys.executable).parent / "hadolint"
    run = subprocess.run([program, dockerfile.FILE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_nobody_can_build_it_on_a_base_that_is_not_named() -> None:
    assert "BASE" in dockerfile.values("ARG"), "no default"
    assert [value.split()[0] for value in dockerfile.values("FROM")] == ["${BASE}"] * 2


def test_it_runs_as_the_user_and_on_the_port_of_the_manifests() -> None:
    [user] = dockerfile.values("USER")
    pod = (ROOT / "deploy" / "kubernetes" / "rollout" / "pod.yaml.jinja").read_text()
    assert f"runAsUser: {user.split(':')[0]}," in pod
    port = str(params.load(ROOT / "params.yaml").rollout.options("kubernetes").port)
    assert dockerfile.values("EXPOSE") == [port]
    assert port in dockerfile.command()
    assert f":{port}/health/ready" in dockerfile.health_check()[-1]


@pytest.mark.parametrize("lock", sorted(LOCK.parent.glob("*.lock")), ids=lambda lock: str(lock.stem))
def test_its_packages_are_those_of_the_project_s_lock(lock: Path) -> None:
    own, all_packages = _locked(lock), _locked(ROOT / "requirements.lock")
    assert own
    assert {name: all_packages.get(name) for name in own} == own, "run `make lock`"


def test_only_the_code_of_the_server_is_sent_to_the_builder() -> None:
    sent = [
        "core/cli.py",
        "runtimes/ort.py",
        "pipelines/serve.py",
        "deploy/docker/requirements-vllm.lock",
        "artifacts/variants/int8/weights.bin",
    ]
    kept_back = [
        ".git/config",
        "models/reference/model.safetensors",
        "tests/tiny.py",
        "rollout.db",
        "core/__pycache__/a.pyc",
    ]
    assert [path for path in sent if dockerfile.ignored(path)] == []
    assert [path for path in kept_back if not dockerfile.ignored(path)] == []
    for sources, _ in dockerfile.copied():
        for source in sources:
            assert source == "${VARIANT}" or ((ROOT / source).exists() and not dockerfile.ignored(source)), source


def test_a_real_version_is_served_by_what_the_image_holds_and_nothing_more(tiny_qwen2: Path, tmp_path: Path) -> None:
    variant = tmp_path / "variant"
    fused.export(tiny_qwen2, variant, 2)
    tokenizer_identity.adopt(tiny_qwen2, variant)
    recipe = Recipe(quantizer="none", runtime="ort")
    manifest.write(variant, variant="fp32", recipe=recipe, model_folder=tiny_qwen2, facts={})
    image = _lay_out(tmp_path / "image", variant)
    packages = _packages(tmp_path / "packages")
    [port] = free_ports(1)
    command = [part.replace("/assay/", f"{image}/assay/") for part in dockerfile.command()]
    command[command.index("--port") + 1] = str(port)
    before = sorted(image.rglob("*"))
    own = dockerfile.environment() | {
        "PYTHONPATH": f"{image}/assay:{packages}", "PATH": os.environ["PATH"], "HOME": str(tmp_path)
    }  # fmt: skip
    log = tmp_path / "log"
    # -S: no site-packages, so there is nothing but what the lock names
    with log.open("wb") as out, subprocess.Popen(
        [sys.executable, "-S", *command[1:]], env=own, cwd=tmp_path, stdout=out, stderr=out
    ) as server:  # fmt: skip
        try:
            check = [sys.executable, *dockerfile.health_check()[1:]]
            check[-1] = check[-1].replace(":8000/", f":{port}/")
            assert subprocess.run(check, capture_output=True, check=False).returncode != 0, "healthy before it serves"
            deadline_s = time.monotonic() + 60
            while subprocess.run(check, capture_output=True, check=False).returncode:
                assert server.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline_s, log.read_text()[-3000:]
            body = {"model": "assay", "messages": [{"role": "user", "content": "1 + 2"}], "max_tokens": 4}
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-assay-manifest"] == manifest.digest(variant)
        finally:
            server.terminate()
    assert server.returncode == 0
    assert sorted(image.rglob("*")) == before, "it wrote into the image, whose root is read-only in a cluster"


def _lay_out(image: Path, variant: Path) -> Path:
    """What COPY does."""
    for sources, target in dockerfile.copied():
        for source in sources:
            origin = variant if source == "${VARIANT}" else ROOT / source
            place = image / target.lstrip("/")
            if origin.is_dir():
                shutil.copytree(origin, place, ignore=_not_sent if origin != variant else None)
            else:
                place.mkdir(parents=True, exist_ok=True) if target.endswith("/") else place.parent.mkdir(
                    parents=True, exist_ok=True
                )
                shutil.copy(origin, place)
    return image


def _not_sent(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if dockerfile.ignored(str((Path(folder) / name).relative_to(ROOT)))]


def _packages(folder: Path) -> Path:
    """Links to the locked packages' own files, so that a package which is not locked cannot be imported."""
    folder.mkdir()
    for name in _locked(LOCK):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python version than this one
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


def _locked(file: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Package → version and hashes."""
    entries = re.split(r"\n(?=\S)", file.read_text())
    pins = [
        (re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry), re.findall(r"sha256:[0-9a-f]{64}", entry)) for entry in entries
    ]
    return {pin[1]: (pin[2], tuple(sorted(hashes))) for pin, hashes in pins if pin}
