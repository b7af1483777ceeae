"""From the click in MLflow's UI to moved traffic: MLflow's webhook, the relay, the jobs of the real .gitlab-ci.yml.

Real: MLflow and its UI, Chromium, the relay, the job files, Envoy, the slots' servers. Stand-ins: GitLab's trigger
API, which starts gitlab-ci-local as a runner would, and the model, which echoes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import httpx
import pytest
import yaml

from approval import webhook
from rehearsal import local_target, traffic
from rehearsal.processes import free_ports
from rollout.params import RolloutSettings
from rollout.targets import Version, local
from tests.ci.click import set_alias
from tests.ci.runner import Checkout, checkout, environments
from tests.parts import gitlab as gitlab_part
from tests.parts import mlflow_server
from tests.rollout.stage import analysed
from tests.rollout.test_local import CONDITIONS, PHASE

ROOMS = (
    "approval", "core", "data", "drift", "evaluation", "gateway", "host", "models", "pipelines", "registry",
    "rollout", "runtimes", "serving",
)  # fmt: skip
SECRET = "webhook-secret-of-the-test"


@dataclass
class House:
    """Everything that a project has running, with version 1 live, and version 2 registered."""

    project: Checkout
    settings: RolloutSettings
    server: mlflow_server.Server
    gitlab: gitlab_part.Gitlab
    production: Path
    versions: dict[int, Version]

    def variables(self, pipeline: gitlab_part.Pipeline) -> dict[str, str]:
        """What GitLab gives the pipeline's jobs: its own, the project's and those of the trigger."""
        own = {"CI_PIPELINE_SOURCE": "trigger", "CI_PIPELINE_URL": pipeline.web_url, "GITLAB_USER_LOGIN": "anna"}
        return own | self.of_project | pipeline.variables

    @property
    def of_project(self) -> dict[str, str]:
        return {"ASSAY_PRODUCTION_DIR": str(self.production), **self.server.environment}

    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.rollout.options('local').port}"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with (
        mlflow_server.running(tmp_path / "mlflow") as server,
        gitlab_part.running() as gitlab,
        local_target.stack(tmp_path / "state") as (settings, _),
    ):
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings = analysed(settings, PHASE, CONDITIONS)
        versions = {number: local_target.version(tmp_path, number) for number in (1, 2)}
        for number, version in versions.items():
            assert server.register("assay", version.folder) == number
        server.client().set_registered_model_alias("assay", "champion", "1")
        local.up(settings, versions[1])
        project = checkout(tmp_path / "project", *ROOMS)
        project.write("params.yaml", yaml.safe_dump(settings.model_dump(mode="json")))
        project.commit()
        production = tmp_path / "production"
        environments(production)
        found = House(project, settings, server, gitlab, production, versions)
        with _relay(found):
            yield found


@pytest.mark.timeout(300)
def test_a_click_moves_the_traffic(house: House) -> None:
    runner, started = ThreadPoolExecutor(1), Queue[Future[str]]()
    house.gitlab.on_pipeline = lambda pipeline: started.put(
        runner.submit(house.project.run, house.variables(pipeline))
    )
    users = traffic.Traffic(traffic.LoadProfile(house.url(), per_s=20)).start()
    set_alias(house.server.url, "assay", 2, "approved")
    [pipeline] = house.gitlab.wait_for(1, seconds=60)
    assert pipeline.variables == {
        "ASSAY_ACTION": "promote", "ASSAY_MODEL": "assay", "ASSAY_VERSION": "2",
        "ASSAY_DIGEST": house.versions[2].digest,
    }  # fmt: skip
    assert "AwaitingApproval" in started.get(timeout=5).result(timeout=120)
    assert _live(house) == house.versions[1].digest, "nothing is switched before a person says so"

    log = house.project.run(house.variables(pipeline), "promote")
    time.sleep(0.5)
    users.stop()
    assert _live(house) == house.versions[2].digest
    assert house.server.client().get_model_version_by_alias("assay", "champion").version == "2"
    assert users.lost == []
    assert set(users.by_digest) == {version.digest for version in house.versions.values()}
    assert "Succeeded" in log
    head = re.findall(r"events hold, head ([0-9a-f]{64})", log)
    told = _production(house, "pipelines.status", "--history", "2", "--verify-chain", "--head", head[-1])
    assert "events hold" in told
    history = _production(house, "pipelines.status", "--history", "2")
    assert "anna" in history
    assert pipeline.web_url in history

    house.project.run(house.variables(pipeline), "rollback")
    assert _live(house) == house.versions[1].digest
    scheduled = {"CI_PIPELINE_SOURCE": "schedule"} | house.of_project | house.gitlab.environment
    assert "reconcile" in house.project.run(scheduled)
    assert len(house.gitlab.pipelines) == 1, "what was rolled back is not promoted again by itself"


def _live(house: House) -> str:
    body = {"model": "assay", "messages": [{"role": "user", "content": "1 2"}], "max_tokens": 4}
    return httpx.post(f"{house.url()}/v1/chat/completions", json=body).headers["x-assay-manifest"]


def _production(house: House, *module: str) -> str:
    """What an operator on the production host is told."""
    command = [str(house.project.folder / "ci" / "production"), "python", "-m", *module]
    return subprocess.run(
        command,
        cwd=house.project.folder,
        env=os.environ | house.of_project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@contextmanager
def _relay(house: House) -> Iterator[None]:
    """The relay on the production host, known to MLflow."""
    [port] = free_ports(1)
    own = house.of_project | house.gitlab.environment | {"ASSAY_WEBHOOK_SECRET": SECRET}
    command = ["ci/production", "python", "-m", "pipelines.relay"]
    log = house.production / "relay.log"
    with log.open("wb") as out, subprocess.Popen(
        [*command, "--port", str(port)], cwd=house.project.folder, env=os.environ | own, stdout=out, stderr=out,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            deadline_s = time.monotonic() + 60
            while not _answers(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.1)
            webhook.subscribe(house.server.client(), f"http://127.0.0.1:{port}{webhook.PATH}", SECRET)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
