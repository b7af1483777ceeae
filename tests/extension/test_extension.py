"""A stranger adds one of each plugin as CONTRIBUTING.md says, one file and one line of params, and all works."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.plugins import known
from tests.parts import project

PAGE = (project.ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"```(python|yaml)\n# (.+?)\n(.*?)```", re.DOTALL)
ROOMS = {
    *("data/scoring", "drift/metrics", "quantizers", "rollout/targets", "runtimes", "selection/gates"),
}


def _files() -> dict[str, str]:
    return {head: body for kind, head, body in BLOCK.findall(PAGE) if kind == "python"}


def _lines() -> dict[str, dict[str, Any]]:
    """Where in params.yaml → what is put there."""
    found = [(head, body) for kind, head, body in BLOCK.findall(PAGE) if kind == "yaml"]
    assert all(len(body.strip().splitlines()) == 1 for _, body in found), "a plugin is one line of params"
    return {head.removeprefix("params.yaml: "): yaml.safe_load(body) for head, body in found}


@pytest.fixture(scope="module")
def extended(tiny_qwen2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy with everything added, after its graph has run."""
    folder = project.small(tmp_path_factory.mktemp("extended") / "project", tiny_qwen2, ["fp32"])
    for name, text in _files().items():
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    questions = [{"question": f"Add {number} and {number * number}.", "answer": "?"} for number in range(2, 302)]
    (folder / "questions.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in questions))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for place, line in _lines().items():
        section = params
        for key in place.split("."):
            section = section[key]
        section |= line
    params["recipes"]["plain"]["margin_points"] = 20.0  # 60 items show no smaller one
    quick = {"interval_s": 0.1, "count": 2, "suite_items": 0, "success_condition": {"errors": "error_rate <= 0.5"}}
    params["rollout"] |= {"before": quick, "after": quick, "poll_s": 0.05}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    done = project.run(folder, "-m", "pipelines.repro")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_page_shows_every_kind_of_plugin() -> None:
    assert {name.rpartition("/")[0] for name in _files()} == ROOMS
    shown = {name.replace("/", ".").removesuffix(".py") for name in _files()}
    assert not [name for name in shown if name.rpartition(".")[2] in known(name.rpartition(".")[0])]


@pytest.mark.timeout(600)
def test_the_graph_runs_with_all_of_them(extended: Path) -> None:
    evaluation = json.loads((extended / "artifacts/evaluation/plain.json").read_text())
    assert (evaluation["status"], evaluation["runtime"]) == ("measured", "counting")
    assert "wordiness" in {metric["name"] for metric in evaluation["metrics"]}
    right = evaluation["accuracy_reference"]["value"]
    assert 0 < right < 1, "the rule of `own` alone can call a random model's reply right"

    decision = json.loads((extended / "artifacts/decision.json").read_text())
    verdicts = {gate["gate"]: gate["verdict"] for gate in decision["gates"] if gate["variant"] == "plain"}
    assert (verdicts["wordiness"], verdicts["weighed"]) == ("pass", "pass")
    assert decision["variant"] in ("fp32", "plain")

    for name in ("index.html", "summary.md"):
        page = html.unescape((extended / "reports" / name).read_text())
        assert "length of answers over the original's" in page
    with sqlite3.connect(extended / "mlflow.db") as database:
        logged = {row[0] for row in database.execute("select distinct key from metrics")}
    assert "wordiness" in logged
    assert json.loads((extended / "artifacts/registration.json").read_text())["model_version"] == 1


@pytest.mark.timeout(600)
def test_a_version_reaches_the_new_target(extended: Path) -> None:
    promoted = project.run(extended, "-m", "pipelines.promote", "--version", "1", "--yes", "--why", "a test")
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    status = project.run(extended, "-m", "pipelines.status", "--json", check=True)
    seen = json.loads(status.stdout)
    digest = json.loads((extended / "artifacts/registration.json").read_text())["manifest_sha256"]
    assert seen["slots"][seen["live"]]["digest"] == digest
    assert seen["aliases"]["champion"] == 1


def test_an_unknown_name_fails_with_the_known_ones(extended: Path) -> None:
    path = extended / "params.yaml"
    params = yaml.safe_load(path.read_text())
    before = path.read_text()
    try:
        params["recipes"]["plain"]["quantizer"] = "unheard"
        path.write_text(yaml.safe_dump(params))
        refused = project.run(extended, "-m", "pipelines.repro")
    finally:
        path.write_text(before)
    assert refused.returncode == 2
    assert "quantizers has no 'unheard'; known:" in refused.stderr
    assert "unchanged" in refused.stderr
