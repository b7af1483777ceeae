"""The Hugging Face hub (or a mirror: HF_ENDPOINT) at one commit, through the hub's own cache, which resumes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import SourceError
from models import manifest
from models.sources._files import link

COMMIT = re.compile(r"[0-9a-f]{40}")


def open_source(source: str, revision: str | None) -> HubSource:
    """The model `source` ("owner/name") at the commit `revision`, a full hash: a branch or a tag can move."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise SourceError(
            f"model.source {source!r} is neither a folder here, a hub id, s3://… nor models:/name@alias"
        )
    if revision is None or not COMMIT.fullmatch(revision):
        raise SourceError(
            f"model.source {source} is no folder here; as a hub id it needs model.revision, a full commit hash "
            f"(40 hex digits), not {revision!r}: see its history on the hub"
        )
    return HubSource(source, revision)


class HubSource:
    downloads = True

    def __init__(self, repository: str, revision: str) -> None:
        self._repository, self._revision = repository, revision
        self._endpoint = os.environ.get("HF_ENDPOINT")

    def files(self) -> dict[str, int]:
        """As the hub lists them; without a network, those of the cached snapshot if it is complete."""
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.hf_api import RepoFile

        try:
            tree = HfApi(endpoint=self._endpoint).list_repo_tree(self._repository, revision=self._revision)
            return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
        except (httpx2.ConnectError, httpx2.TimeoutException, OfflineModeIsEnabled):
            wanted = [f"*{suffix}" for suffix in manifest.SOURCE_SUFFIXES]
            folder = self._snapshot(wanted, ignore_patterns=["*/*"], local_files_only=True)
            return {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
        except OSError as error:
            raise self._failed(error) from error

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        snapshot = self._snapshot(list(names))
        for name in names:
            link(snapshot / name, folder / name)

    def discard(self) -> None:
        """The hub's cache is shared with other programs and stays."""

    def _snapshot(self, patterns: list[str], **options: Any) -> Path:
        from huggingface_hub import snapshot_download

        try:
            return Path(
                snapshot_download(
                    self._repository,
                    revision=self._revision,
                    allow_patterns=patterns,
                    endpoint=self._endpoint,
                    **options,
                )
            )
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SourceError:
        first_line = str(error).strip().splitlines()[0]
        return SourceError(
            f"{self._repository}@{self._revision[:12]} could not be fetched from the hub: {first_line}"
        )
