"""ci/production: code, packages and state that outlive the job's checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ci.runner import Checkout, checkout, environments

SHOW = 'echo "$PWD $PYTHONPATH $(command -v python)"'


@pytest.fixture
def project(tmp_path: Path) -> Checkout:
    return checkout(tmp_path / "project", "params.yaml", "core", "host")


def _run(project: Checkout, home: Path | None, *command: str, **given: str) -> subprocess.CompletedProcess[str]:
    given |= {"ASSAY_PRODUCTION_DIR": str(home)} if home else {}
    return subprocess.run(
        ["ci/production", *command],
        cwd=project.folder,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_runs_in_the_state_s_folder_with_the_commit_s_code(project: Checkout, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made, _ = environments(home)
    done = _run(project, home, "sh", "-c", SHOW)
    assert done.returncode == 0, done.stderr
    where, code, python = done.stdout.split()
    assert (where, python) == (str(home), str(made / "bin" / "python"))
    assert (home / "params.yaml").read_text() == (project.folder / "params.yaml").read_text()
    shutil.rmtree(project.folder)  # GitLab cleans up
    assert (Path(code) / "core" / "__init__.py").exists()


def test_each_commit_has_its_own_code_and_the_state_is_one(project: Checkout, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environments(home)
    first = _run(project, home, "sh", "-c", f"touch rollout.db && {SHOW}").stdout.split()[1]
    project.write("core/new.py", "")
    project.commit()
    second = _run(project, home, "sh", "-c", f"test -e rollout.db && {SHOW}").stdout.split()[1]
    assert first != second
    assert [(Path(code) / "core" / "new.py").exists() for code in (first, second)] == [False, True]
    assert _run(project, home, "sh", "-c", "exit 5").returncode == 5, "the job ends as the command does"
    assert not [entry.name for entry in (home / "releases").iterdir() if entry.name.startswith(".")]


def test_on_a_host_with_a_gpu_vllm_s_environment_lies_beside_the_code(
    project: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    _, gpu = environments(home)
    driver = tmp_path / "driver" / "nvidia-smi"
    driver.parent.mkdir()
    driver.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}{os.pathsep}{os.environ['PATH']}")
    done = _run(
        project, home, "python", "-c", "from host.interpreter import GPU, ROOT; print((ROOT / GPU.folder).resolve())"
    )
    assert done.stdout.split() == [str(gpu)], done.stderr
    shutil.rmtree(gpu)
    told = _run(project, home, "true", MAKEFLAGS="--dry-run").stdout
    assert "requirements-gpu.lock" in told, "it is made when it is missing"


def test_without_a_folder_it_says_which_variable(project: Checkout) -> None:
    done = _run(project, None, "true")
    assert done.returncode != 0
    assert "ASSAY_PRODUCTION_DIR: is not set" in done.stderr
