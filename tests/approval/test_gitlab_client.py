"""The trigger's client against GitLab's answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from approval import gitlab
from approval.standing import Approval, PipelineError, Standing
from core.errors import ConfigError
from host import secret
from tests.parts import gitlab as stand_in

APPROVAL = Approval(
    "a1", "production", "assay", 7, "d" * 64, "reconcile", 1.0, 1.0, Standing.WANTED, "to be triggered", 1.0
)


@pytest.fixture(scope="module")
def server() -> Iterator[stand_in.Gitlab]:
    with stand_in.running() as running:
        yield running


def refused(environment: dict[str, str]) -> PipelineError:
    with pytest.raises(PipelineError) as found:
        gitlab.connect(environment).trigger(APPROVAL)
    assert environment["ASSAY_GITLAB_TRIGGER_TOKEN"] not in str(found.value)
    return found.value


def test_the_pipeline_gets_what_the_ci_file_asks_for(server: stand_in.Gitlab) -> None:
    url = gitlab.connect(server.environment).trigger(APPROVAL)
    made = server.pipelines[-1]
    assert url == made.web_url
    assert made.ref == "main"
    assert made.variables == {
        "ASSAY_ACTION": "promote",
        "ASSAY_MODEL": "assay",
        "ASSAY_VERSION": "7",
        "ASSAY_DIGEST": "d" * 64,
    }


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ASSAY_GITLAB_TRIGGER_TOKEN", "glptt-another-token", "answers 404 to a wrong token too"),
        ("ASSAY_GITLAB_PROJECT", "group/other", "Project Not Found"),
        ("ASSAY_GITLAB_REF", "nowhere", "Reference not found"),
    ],
)
def test_a_wrong_setting_is_named_and_not_tried_again(
    server: stand_in.Gitlab, name: str, value: str, words: str
) -> None:
    error = refused(server.environment | {name: value})
    assert words in str(error)
    assert error.lasting


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_overloaded_gitlab_is_tried_again(server: stand_in.Gitlab, status: int) -> None:
    server.refuse = [status]
    assert not refused(server.environment).lasting


def test_a_redirect_is_not_followed_with_the_token(server: stand_in.Gitlab) -> None:
    server.refuse = [302]
    assert refused(server.environment).lasting


def test_a_dead_gitlab_or_a_lost_answer_is_tried_again(server: stand_in.Gitlab) -> None:
    server.lose_answers = 1
    assert not refused(server.environment).lasting
    gone = stand_in.Gitlab()
    assert not refused(gone.environment).lasting


def test_settings_come_from_the_environment_or_from_the_job(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("glptt-0123456789abcdef\n")
    job = {"CI_SERVER_URL": "https://gitlab.example.com/", "CI_PROJECT_ID": "7", "CI_DEFAULT_BRANCH": "trunk"}
    found = gitlab.connect(job | {"ASSAY_GITLAB_TRIGGER_TOKEN_FILE": str(file)})
    assert found.endpoint == "https://gitlab.example.com/api/v4/projects/7/trigger/pipeline"
    assert "0123456789abcdef" not in repr(vars(found))
    nested = stand_in.Gitlab().environment | {"ASSAY_GITLAB_PROJECT": "group/assay"}
    assert "/projects/group%2Fassay/trigger" in gitlab.connect(nested).endpoint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ASSAY_GITLAB_URL": ""}, "set ASSAY_GITLAB_URL"),
        ({"ASSAY_GITLAB_PROJECT": ""}, "set ASSAY_GITLAB_PROJECT"),
        ({"ASSAY_GITLAB_URL": "gitlab"}, "url"),
        ({"ASSAY_GITLAB_TRIGGER_TOKEN": ""}, "set ASSAY_GITLAB_TRIGGER_TOKEN"),
        ({"ASSAY_GITLAB_TRIGGER_TOKEN": "short"}, "has 5 characters"),
        ({"ASSAY_GITLAB_TRIGGER_TOKEN": "", "ASSAY_GITLAB_TRIGGER_TOKEN_FILE": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        gitlab.connect(stand_in.Gitlab().environment | changes)


def test_a_secret_s_file_may_end_with_a_newline(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    assert secret.read("KEY", {"KEY_FILE": str(file)}) == "0123456789abcdef"
    assert secret.read("KEY", {"KEY_FILE": str(file), "KEY": "fedcba9876543210"}) == "fedcba9876543210"
