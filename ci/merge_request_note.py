"""Show the report's summary in its merge request: one note, created by the first pipeline and updated by later ones.

    python -m ci.merge_request_note reports/summary.md

Reads GitLab's CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID, CI_PIPELINE_URL, and ASSAY_GITLAB_TOKEN: a project
access token with scope `api` (a job's own token may not write notes), as a masked variable.
API: https://docs.gitlab.com/api/notes/#merge-requests
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from core import cli
from core.errors import AssayError, ConfigError

MARK = "<!-- assay: report -->"  # begins the note, so that the next pipeline finds it
TIMEOUT_S = 30.0
MAX_CHARACTERS = 900_000  # GitLab takes a million


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Markdown")
    file = parser.parse_args(argv).file
    if not file.is_file():
        raise ConfigError(f"{file} not found: run stage `report` first")
    api, token = _needed("CI_API_V4_URL"), _needed("ASSAY_GITLAB_TOKEN")
    notes = f"/projects/{_needed('CI_PROJECT_ID')}/merge_requests/{_needed('CI_MERGE_REQUEST_IID')}/notes"
    pipeline = os.environ.get("CI_PIPELINE_URL")
    body = f"{MARK}\n{file.read_text()}" + (f"\n[Pipeline]({pipeline})\n" if pipeline else "")
    with httpx.Client(base_url=api, headers={"PRIVATE-TOKEN": token}, timeout=TIMEOUT_S) as client:
        print(post(client, notes, body[:MAX_CHARACTERS]))


def post(client: httpx.Client, notes: str, body: str) -> str:
    """Update the merge request's marked note, or create it; returns what was done."""
    mine = [note["id"] for note in _all(client, notes) if not note["system"] and note["body"].startswith(MARK)]
    if mine:
        _call(client, "PUT", f"{notes}/{mine[0]}", json={"body": body})
        return f"updated note {mine[0]}"
    created = _call(client, "POST", notes, json={"body": body}).json()
    return f"created note {created['id']}"


def _all(client: httpx.Client, notes: str) -> Iterator[dict[str, Any]]:
    """Every note, oldest first, page by page."""
    page = "1"
    while page:
        query = {"per_page": "100", "page": page, "sort": "asc", "order_by": "created_at"}
        answer = _call(client, "GET", notes, params=query)
        yield from answer.json()
        page = answer.headers.get("X-Next-Page", "")


def _call(client: httpx.Client, method: str, path: str, **content: Any) -> httpx.Response:
    try:
        answer = client.request(method, path, **content)
    except httpx.HTTPError as error:
        raise AssayError(f"GitLab at {client.base_url} does not answer: {error}") from error
    if answer.is_success:
        return answer
    hint = {
        401: "ASSAY_GITLAB_TOKEN is invalid or expired",
        403: "ASSAY_GITLAB_TOKEN needs scope `api` and at least the role Reporter",
        404: "no such merge request, or ASSAY_GITLAB_TOKEN may not see it",
    }.get(answer.status_code, answer.text[:200])
    raise AssayError(f"GitLab answered {answer.status_code} to {method} {path}: {hint}")


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"{name} is not set: run this in a merge request's pipeline, see docs/ci.md")
    return value


if __name__ == "__main__":
    cli.run(main)
