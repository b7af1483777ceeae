"""The Hugging Face hub (or a mirror: HF_ENDPOINT) at one commit, through the hub's own cache, which resumes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import SourceError
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
        """From the hub's cache if this commit was listed before (it cannot change), else from the hub."""
        from huggingface_hub import HfApi, get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
        from huggingface_hub.hf_api import RepoFile, RepoFolder

        tree: Iterable[RepoFile | RepoFolder]
        with self._named_errors():
            try:
                tree = get_cached_repo_tree(self._repository, revision=self._revision)
            except CachedRepoTreeNotFoundError:
                tree = list(HfApi(endpoint=self._endpoint).list_repo_tree(self._repository, revision=self._revision))
        return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile) and "/" not in entry.path}

    def identity(self) -> dict[str, str]:
        """The commit, which cannot change."""
        return {"revision": self._revision}

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        from huggingface_hub import snapshot_download

        with self._named_errors():
            snapshot = snapshot_download(
                self._repository, revision=self._revision, allow_patterns=list(names), endpoint=self._endpoint
            )
        for name in names:
            link(Path(snapshot) / name, folder / name)

    def discard(self) -> None:
        """The hub's cache is shared with other programs and stays."""

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except (OSError, httpx2.HTTPError) as error:
            what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            where = f"{self._repository}@{self._revision[:12]}"
            raise SourceError(f"{where} could not be fetched from the hub: {what}") from error
