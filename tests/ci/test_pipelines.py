"""What each kind of pipeline runs, and the fan-out over recipes on a real S3, through gitlab-ci-local."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from ci import measured, recipes
from pipelines import params
from tests.ci.runner import ROOT, Checkout, checkout
from tests.parts import seaweed

CHECKS = {"lint", "test", "dvc-status"}
APPROVAL = {"CI_PIPELINE_SOURCE": "trigger", "ASSAY_ACTION": "promote"}
JOBS = ("prepare", "recipe: [one,one]", "recipe: [two,two]", "report")  # what the push pipeline runs after the checks
STAGES = """
stages:
  inputs:
    cmd: sh look.sh
    always_changed: true
    outs:
    - artifacts/inputs.json: {persist: true}
  export:
    cmd: sh make.sh export "$(cat artifacts/inputs.json)"
    deps: [make.sh, artifacts/inputs.json]
    outs: [artifacts/export]
  calibrate:
    cmd: sh make.sh calibrate
    deps: [make.sh, artifacts/export]
    outs: [artifacts/calibrate]
  quantize:
    foreach: ${recipes}
    do:
      cmd: sh make.sh variants/${key} ${key} ${item}
      deps: [make.sh, artifacts/export, artifacts/calibrate]
      params: ["recipes.${key}"]
      outs: ["artifacts/variants/${key}"]
  compile:
    foreach: ${recipes}
    do:
      cmd: sh make.sh engines/${key}
      deps: [make.sh, "artifacts/variants/${key}"]
      outs: ["artifacts/engines/${key}"]
  evaluate:
    foreach: ${recipes}
    do:
      cmd: sh make.sh evaluation/${key}.json ${key}
      deps: [make.sh, "artifacts/variants/${key}"]
      outs: ["artifacts/evaluation/${key}.json"]
  benchmark:
    foreach: ${recipes}
    do:
      cmd: sh make.sh benchmark/${key}.json ${key}
      deps: [make.sh, "artifacts/variants/${key}"]
      outs: ["artifacts/benchmark/${key}.json"]
  report:
    cmd: mkdir -p reports && cat artifacts/evaluation/* artifacts/benchmark/* > reports/summary.md
    deps: [artifacts/engines, artifacts/evaluation, artifacts/benchmark]
    outs:
      - reports/summary.md: {cache: false}
"""
# A recipe is measured on a runner of its own name only, and made anywhere.
MAKE = """
mkdir -p "$(dirname "artifacts/$1")"
echo "$1" >> "$MADE"
[ "${2:-}" = "${ASSAY_RUNNER:-}" ] && status=measured || status=not_measured_here
printf '{"status": "%s", "what": "%s"}\\n' "$status" "$*" > "artifacts/$1"
"""
# What the stage `inputs` does about a file that is outside the checkout.
LOOK = """
mkdir -p artifacts
[ "${ASSAY_INPUTS:-}" = recorded ] && [ -f artifacts/inputs.json ] || cat "$OUTSIDE" > artifacts/inputs.json
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return checkout(tmp_path_factory.mktemp("ci") / "project", "params.yaml")


def test_the_matrix_is_that_of_params() -> None:
    settings = params.load(ROOT / "params.yaml")
    assert (ROOT / recipes.FILE).read_text() == recipes.render(settings), "run `python -m ci.recipes`"
    matrix = yaml.safe_load((ROOT / recipes.FILE).read_text())[".recipes"]["parallel"]["matrix"]
    assert {name for line in matrix for name in line["RECIPE"]} == settings.recipes.keys()


def test_a_recipe_goes_to_the_runner_of_its_runtime() -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["select"]["compare_with"] = "a"
    raw["recipes"] = {"a": {"quantizer": "none", "runtime": "ort", "options": {}}} | {
        name: {"quantizer": "none", "runtime": "vllm", "options": {}} for name in ("b", "c")
    }
    raw["ci"] = {"runners": {"c": "gpu-large"}}
    made = yaml.safe_load(recipes.render(params.Params.model_validate(raw)))
    assert made[".recipes"]["parallel"]["matrix"] == [
        {"ASSAY_RUNNER": "cpu", "RECIPE": ["a"]},
        {"ASSAY_RUNNER": "gpu", "RECIPE": ["b"]},
        {"ASSAY_RUNNER": "gpu-large", "RECIPE": ["c"]},
    ]
    with pytest.raises(ValidationError, match=r"no recipe 'd' for ci.runners"):
        params.Params.model_validate(raw | {"ci": {"runners": {"d": "gpu"}}})


def test_jobs_name_stages_that_exist_and_records_where_they_are() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    asked = re.findall(r"ci/repro-shared (.+)", (ROOT / "ci" / "model.yml").read_text())
    assert asked == ["export calibrate", "report", "report"]
    assert {name for line in asked for name in line.split()} <= stages.keys()
    for stage, folder in measured.RECORDS.items():
        assert f"{folder}/${{key}}.json" in stages[stage]["do"]["outs"]


def test_a_push_checks_and_makes_every_recipe(project: Checkout) -> None:
    matrix = yaml.safe_load((ROOT / recipes.FILE).read_text())[".recipes"]["parallel"]["matrix"]
    each = {f"recipe: [{line['ASSAY_RUNNER']},{name}]" for line in matrix for name in line["RECIPE"]}
    on_branch = project.jobs(CI_COMMIT_BRANCH="feature")
    confirm = {f"confirm: [{line['ASSAY_RUNNER']}]" for line in matrix}
    assert on_branch.keys() == {*CHECKS, "prepare", *each, *confirm, "report"}
    assert project.jobs().keys() == {*on_branch, "register", "build"}
    assert project.jobs(CI_PIPELINE_SOURCE="merge_request_event").keys() == on_branch.keys()


def test_an_approval_waits_for_a_person_and_nothing_else_runs(project: Checkout) -> None:
    found = project.jobs(**APPROVAL)
    assert {name: job["when"] for name, job in found.items()} == {
        "verify": "on_success", "preview": "on_success", "promote": "manual", "rollback": "manual"
    }  # fmt: skip
    assert [found[name]["allow_failure"] for name in ("promote", "rollback")] == [False, True]
    assert project.jobs(CI_PIPELINE_SOURCE="trigger", ASSAY_ACTION="something") == {}
    assert project.jobs(CI_PIPELINE_SOURCE="schedule").keys() == {"reconcile"}


def test_what_changes_live_traffic_is_one_at_a_time_on_the_production_host() -> None:
    expanded = yaml.safe_load((ROOT / "ci" / "approval.yml").read_text())
    assert expanded[".production"]["tags"] == ["production"]
    for name in ("preview", "promote", "reconcile"):
        assert expanded[name]["resource_group"] == "production"
    assert expanded["promote"]["environment"] == "production"


@pytest.mark.timeout(300)
def test_recipes_are_made_apart_and_meet_on_s3(tmp_path: Path) -> None:
    project = checkout(tmp_path / "project", ".dvc/config", ".dvc/.gitignore", "core")
    project.write("dvc.yaml", STAGES)
    project.write("make.sh", MAKE)
    project.write("look.sh", LOOK)
    _recipes(project, {"one": 1, "two": 1})
    made, outside = tmp_path / "made", tmp_path / "outside"
    outside.write_text("first")
    with seaweed.s3(tmp_path, bucket="dvc") as s3:
        variables = {
            "ASSAY_DVC_REMOTE_URL": "s3://dvc/cache",
            "MADE": str(made),
            "OUTSIDE": str(outside),
            **s3.environment,
        }
        developer = "source ci/environment && ci/repro-shared report && rm -r artifacts reports"
        subprocess.run(["bash", "-c", developer], cwd=project.folder, env=os.environ | variables, check=True)
        assert len(made.read_text().split()) == 10, "a developer, whose machine can measure neither, made everything"
        made.unlink()
        _recipes(project, {"one": 1, "two": 2})

        project.run(variables, *JOBS, isolated=True)
        assert sorted(made.read_text().split()) == [
            *("benchmark/one.json", "benchmark/two.json", "engines/two", "evaluation/one.json"),
            *("evaluation/two.json", "variants/two"),
        ]  # what was not measured, and what changed
        kept = project.folder / ".gitlab-ci-local" / "artifacts" / "report"
        lines = [json.loads(line) for line in (kept / "reports" / "summary.md").read_text().splitlines()]
        assert [line["status"] for line in lines] == ["measured"] * 4

        made.unlink()
        shutil.rmtree(project.folder / ".gitlab-ci-local" / "builds")  # other machines
        project.run(variables, *JOBS[1:3], isolated=True)
        assert not made.exists(), "the next pipeline has everything from S3"

        outside.write_text("second")  # since dvc.lock was committed
        project.run(variables, JOBS[0], isolated=True)
        assert made.read_text().split() == ["export", "calibrate"]
        made.unlink()
        outside.write_text("third")  # in the middle of a pipeline; on another machine it may not even be there
        project.run(variables, *JOBS[1:], isolated=True)
        again = set(made.read_text().split())
        assert {"variants/one", "variants/two"} <= again, "both recipes are made for what `prepare` found"
        assert not {"export", "calibrate"} & again, "no job looks again"


def test_without_a_remote_the_job_says_which_variable(project: Checkout) -> None:
    run = subprocess.run(
        ["ci/repro-shared", "report"], cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "ASSAY_DVC_REMOTE_URL: is not set" in run.stderr


def _recipes(project: Checkout, values: dict[str, int]) -> None:
    """params.yaml of the small project, and the job file for its recipes."""
    project.write("params.yaml", yaml.safe_dump({"recipes": values}))
    matrix = [{"ASSAY_RUNNER": name, "RECIPE": [name]} for name in values]
    jobs = {".recipes": matrix, ".runners": [{"ASSAY_RUNNER": list(values)}]}
    project.write(
        "ci/recipes.yml", yaml.safe_dump({name: {"parallel": {"matrix": lines}} for name, lines in jobs.items()})
    )
    project.commit()
