"""The GitLab files are valid, and their jobs run the commands that a developer has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines import params

ROOT = Path(__file__).parents[2]
CALLED = [file for file in [ROOT / ".gitlab-ci.yml", *(ROOT / "ci").iterdir()] if file.is_file()]
FILES = sorted([ROOT / ".gitlab-ci.yml", *(ROOT / "ci").glob("*.yml")])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_file_follows_gitlabs_schema(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_included_files_exist_and_all_are_included() -> None:
    included = {entry["local"] for entry in yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["include"]}
    assert included == {str(file.relative_to(ROOT)) for file in FILES if file.parent.name == "ci"}


def test_jobs_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {name for file in FILES for name in re.findall(r"\bmake ([a-z-]+)", file.read_text())}
    assert asked
    assert asked <= targets


def test_every_variable_that_a_project_sets_is_in_the_docs() -> None:
    told = (ROOT / "docs" / "ci.md").read_text()
    used = {name for file in CALLED for name in re.findall(r"\bASSAY_[A-Z_]*[A-Z]\b", file.read_text())}
    trigger = {"ASSAY_ACTION", "ASSAY_MODEL", "ASSAY_VERSION", "ASSAY_DIGEST", "ASSAY_RUNNER"}
    assert [name for name in sorted(used - trigger) if f"`{name}`" not in told] == []


def test_every_tag_of_a_runner_is_in_the_docs() -> None:
    told = (ROOT / "docs" / "ci.md").read_text()
    settings = params.load(ROOT / "params.yaml")
    tags = {settings.runner(name) for name in settings.recipes}
    for file in FILES:
        tags |= {
            tag
            for job in yaml.safe_load(file.read_text()).values()
            if isinstance(job, dict)
            for tag in job.get("tags", ())
        }
    assert [tag for tag in sorted(tags - {"$ASSAY_RUNNER"}) if f"| `{tag}` |" not in told] == []


def test_who_may_not_install_what_tests_need_is_told_the_command(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    command = ["/bin/bash", str(ROOT / "ci" / "system-packages")]
    run = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "sudo apt-get install redis-server chromium rsync npm" in run.stderr


def test_no_image_is_named_by_a_moving_tag() -> None:
    for file in FILES:
        assert ":latest" not in file.read_text()
