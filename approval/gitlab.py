"""Starts GitLab's approval pipeline through a trigger token: POST /projects/:id/trigger/pipeline.

| variable | | in a GitLab job |
|---|---|---|
| ASSAY_GITLAB_URL | e.g. https://gitlab.example.com | CI_SERVER_URL |
| ASSAY_GITLAB_PROJECT | number, or path like group/assay | CI_PROJECT_ID |
| ASSAY_GITLAB_REF | branch whose pipeline runs (main) | CI_DEFAULT_BRANCH |
| ASSAY_GITLAB_TRIGGER_TOKEN, or ..._FILE | Settings, CI/CD, Pipeline trigger tokens | a masked variable |

The pipeline gets ASSAY_ACTION=promote, ASSAY_MODEL, ASSAY_VERSION and ASSAY_DIGEST; CI_PIPELINE_SOURCE is `trigger`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from approval.standing import Approval, PipelineError
from core.errors import ConfigError, wrong_fields
from host import secret

ENVIRONMENT = {  # the first that is set; the second is GitLab's own in every job
    "url": ("ASSAY_GITLAB_URL", "CI_SERVER_URL"),
    "project": ("ASSAY_GITLAB_PROJECT", "CI_PROJECT_ID"),
    "ref": ("ASSAY_GITLAB_REF", "CI_DEFAULT_BRANCH"),
}
TOKEN = "ASSAY_GITLAB_TRIGGER_TOKEN"  # the name of the variable
TIMEOUT_S = 10.0
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Settings(BaseModel):
    """Checked when made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://\S+$")
    project: str = Field(min_length=1)
    ref: str = Field(default="main", min_length=1)
    token: SecretStr
    timeout_s: float = Field(default=TIMEOUT_S, gt=0)


class Gitlab:
    """See approval.standing.Pipelines."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.endpoint = (
            f"{settings.url.rstrip('/')}/api/v4/projects/{quote(settings.project, safe='')}/trigger/pipeline"
        )

    def trigger(self, approval: Approval) -> str:
        """The token travels in the body, which no access log keeps, and to no other address: nothing is followed."""
        form = {
            "token": self._settings.token.get_secret_value(),
            "ref": self._settings.ref,
            "variables[ASSAY_ACTION]": "promote",
            "variables[ASSAY_MODEL]": approval.model_name,
            "variables[ASSAY_VERSION]": str(approval.model_version),
            "variables[ASSAY_DIGEST]": approval.digest,
        }
        try:
            answer = httpx.post(self.endpoint, data=form, timeout=self._settings.timeout_s, follow_redirects=False)
        except httpx.HTTPError as error:
            raise PipelineError(f"GitLab does not answer at {self.endpoint}: {error!r}", lasting=False) from error
        if answer.status_code == 201:
            return _url(answer)
        lasting = answer.status_code not in AGAIN
        raise PipelineError(f"GitLab refused the pipeline ({answer.status_code}): {_reason(answer)}", lasting)


def connect(environment: Mapping[str, str] = os.environ) -> Gitlab:
    """Calls nothing. Raises ConfigError naming the variable that is missing or wrong."""
    found = {field: next(filter(None, map(environment.get, names)), None) for field, names in ENVIRONMENT.items()}
    given = {field: value for field, value in found.items() if value}
    missing = [ENVIRONMENT[field][0] for field in ("url", "project") if field not in given]
    if missing:
        raise ConfigError(f"no GitLab to trigger: set {' and '.join(missing)} (docs/approval.md)")
    try:
        return Gitlab(Settings.model_validate(given | {"token": secret.read(TOKEN, environment)}))
    except ValidationError as error:
        raise ConfigError(f"GitLab's settings: {wrong_fields(error)}") from error


def _url(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["web_url"])
    except (ValueError, KeyError, TypeError):
        raise PipelineError(
            f"{answer.url} answered 201, but without a pipeline's web_url: {answer.text[:200]}", True
        ) from None


def _reason(answer: httpx.Response) -> str:
    """GitLab's own words, and what they mean here."""
    try:
        message = str(answer.json().get("message") or answer.json())
    except (ValueError, AttributeError):
        message = answer.text[:200]
    hint = {
        400: "check ASSAY_GITLAB_REF, and that the branch's .gitlab-ci.yml has jobs for a trigger",
        401: f"check {TOKEN}",
        403: f"the owner of {TOKEN} may not run pipelines on this branch",
        404: f"check ASSAY_GITLAB_PROJECT and {TOKEN}: GitLab answers 404 to a wrong token too",
    }.get(answer.status_code)
    return f"{message}; {hint}" if hint else message
