"""A click in a real MLflow reaches a real relay process, which starts a pipeline; and what is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from approval import relay_app, webhook
from approval.ledger import ApprovalLedger
from approval.standing import Standing
from core.errors import ConfigError, RegistryError
from models import manifest
from pipelines import reconcile
from rehearsal.processes import free_ports
from tests.parts import gitlab, mlflow_server
from tests.rollout.stage import ROOT, version

SECRET = "webhook secret of the tests"


@dataclass
class World:
    """MLflow, GitLab and a relay whose working folder is `folder`. Versions 1 to 4 pass, 5 has no evidence."""

    folder: Path
    mlflow: mlflow_server.Server
    gitlab: gitlab.Gitlab
    digests: dict[int, str]
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return self.mlflow.environment | self.gitlab.environment | {"ASSAY_WEBHOOK_SECRET": SECRET}

    def approve(self, number: int) -> None:
        """What the UI's request does."""
        self.mlflow.client().set_registered_model_alias("assay", "approved", str(number))

    def start(self) -> None:
        command = [sys.executable, "-m", "pipelines.relay", "--port", str(self.port)]
        own = {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
        with (self.folder / "relay.log").open("ab") as log:
            environment = os.environ | self.environment | own
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline_s = time.monotonic() + 90
        while not self.healthy():
            assert self.process.poll() is None, (self.folder / "relay.log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "relay.log").read_text().splitlines()]

    def wait_for_line(self, **wanted: object) -> dict[str, Any]:
        """The newest one with these fields."""
        deadline_s = time.monotonic() + 30
        while True:
            line: dict[str, Any]
            for line in reversed(self.log()):
                if all(line.get(name) == value for name, value in wanted.items()):
                    return line
            assert time.monotonic() < deadline_s, f"no line {wanted} in {self.log()[-10:]}"
            time.sleep(0.1)

    def record(self) -> ApprovalLedger:
        return ApprovalLedger(self.folder / "rollout.db")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("relay")
    folder = root / "work"
    folder.mkdir()
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with mlflow_server.running(root / "mlflow") as server, gitlab.running() as stand_in:
        digests = {}
        for number in range(1, 6):
            made = version(root, f"v{number}")
            digests[number] = manifest.digest(made)
            assert server.register("assay", made, {} if number == 5 else None) == number
        found = World(folder, server, stand_in, digests)
        found.start()
        try:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in found.environment.items():
                    patch.setenv(name, value)
                webhook.subscribe(server.client(), f"{found.url}{webhook.PATH}", SECRET)
            yield found
        finally:
            if found.process is not None:
                found.process.kill()
                found.process.wait()


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """This process is where reconcile runs: same folder, same environment."""
    import mlflow

    before = mlflow.get_tracking_uri()
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.folder)
    yield world
    mlflow.set_tracking_uri(before)


def test_the_click_starts_one_pipeline_with_what_was_approved(world: World) -> None:
    world.mlflow.client().set_registered_model_alias("assay", "candidate", "1")
    world.wait_for_line(outcome="ignored")
    assert world.gitlab.pipelines == []
    world.approve(1)
    [pipeline] = world.gitlab.wait_for(1)
    assert pipeline.variables == {
        "ASSAY_ACTION": "promote",
        "ASSAY_MODEL": "assay",
        "ASSAY_VERSION": "1",
        "ASSAY_DIGEST": world.digests[1],
    }
    line = world.wait_for_line(standing="triggered", version=1)
    assert line["pipeline_url"] == pipeline.web_url
    events = [(event.kind, event.who) for event in world.record().history("assay", 1)]
    assert events[0] == ("approved", "MLflow, actor not named")
    assert events[1][0] == "trigger"
    world.approve(1)  # a second click while it is under way
    assert world.wait_for_line(outcome="triggered")["status"] == 200
    assert len(world.gitlab.pipelines) == 1


def test_strangers_and_large_messages_are_turned_away(world: World) -> None:
    lines = len(world.log())
    for content, status in ((b"{}", 401), (b"x" * (relay_app.MAX_BODY_BYTES + 1), 413)):
        answer = httpx.post(world.url + webhook.PATH, content=content, trust_env=False)
        assert answer.status_code == status

    def endless() -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * 16384

    assert httpx.post(world.url + webhook.PATH, content=endless(), trust_env=False).status_code == 413
    assert [line["status"] for line in world.log()[lines:]] == [401, 413, 413]
    assert httpx.get(world.url + "/docs", trust_env=False).status_code == 404


def test_what_does_not_pass_is_refused(world: World) -> None:
    world.approve(5)
    assert "validation_status = not set" in world.wait_for_line(outcome="refused", version=5)["message"]
    assert len(world.gitlab.pipelines) == 1


def test_gitlab_that_fails_for_a_moment_costs_no_approval(world: World) -> None:
    world.gitlab.refuse = [503]
    world.approve(2)
    assert world.gitlab.wait_for(2)[-1].variables["ASSAY_VERSION"] == "2"


def test_a_relay_killed_before_gitlab_answered_goes_on_after_its_restart(world: World) -> None:
    world.gitlab.stop()
    world.approve(3)
    world.wait_for_line(outcome="wanted", version=3)
    world.end(signal.SIGKILL)
    world.gitlab.start()
    assert len(world.gitlab.pipelines) == 2
    world.start()
    assert world.gitlab.wait_for(3)[-1].variables["ASSAY_DIGEST"] == world.digests[3]


def test_a_webhook_lost_while_the_relay_was_down_is_found_once(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here.end() == -signal.SIGTERM, "uvicorn ends what runs, and then itself as it was asked to"
    here.approve(4)
    for _ in range(2):
        assert reconcile.main([]) == 0
        assert "approval  version 4: pipeline" in capsys.readouterr().out
    assert [one.variables["ASSAY_VERSION"] for one in here.gitlab.pipelines] == ["1", "2", "3", "4"]
    here.start()
    time.sleep(1)
    assert len(here.gitlab.pipelines) == 4, "the relay finds it triggered"
    newest = here.record().newest_approval("production", "assay")
    assert newest is not None
    assert (newest.standing, newest.source) == (Standing.TRIGGERED, "reconcile")
    here.record().verify_chain()


def test_registering_again_changes_the_one_webhook_and_its_test_tells_a_wrong_secret(here: World) -> None:
    client = here.mlflow.client()
    webhook.subscribe(client, f"{here.url}{webhook.PATH}", SECRET)
    with pytest.raises(RegistryError, match="401"):
        webhook.subscribe(client, f"{here.url}{webhook.PATH}", "another secret than the relay's")
    [registered] = client.list_webhooks()
    assert registered.name == webhook.NAME


def test_a_store_without_a_server_sends_no_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(ConfigError, match="not an MLflow server"):
        webhook.subscribe(None, "http://127.0.0.1:1/", SECRET)
