"""A version in the MLflow registry, "models:/name@alias" or "models:/name/version" (MLFLOW_TRACKING_URI)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import SourceError
from models.sources._files import Downloads

# mlflow.transformers puts the weights into model/ and the tokenizer here.
TOKENIZER_FOLDER = "components/tokenizer"
# MLflow's own seven tries take minutes to find that a server is away.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


def open_source(source: str, revision: str | None) -> RegistrySource:
    """The model registered as `source`; `revision` does not apply, an alias is read once and its version kept."""
    if revision is not None:
        raise SourceError(f"model.source {source}: model.revision is for the hub; set it to null")
    return RegistrySource(source)


class RegistrySource:
    downloads = True

    def __init__(self, source: str) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/]+)|/(\d+))", source)
        if parts is None:
            raise SourceError(f"model.source {source!r} must be models:/name@alias or models:/name/version")
        name, alias, version = parts.groups()
        self._source = source
        for setting, value in PATIENCE.items():
            os.environ.setdefault(setting, value)
        try:
            # Pinned here, so that an alias moved in the middle of a download cannot mix two versions.
            client = MlflowClient()
            if alias:
                self._version = client.get_model_version_by_alias(name, alias)
            else:
                self._version = client.get_model_version(name, version)
        except MlflowException as error:
            away = error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
            what = "could not be looked up" if away else "is not in the MLflow registry"
            raise SourceError(f"{source} {what}: {error.message}") from error
        self._uri = f"models:/{name}/{self._version.version}"
        self._sizes: dict[str, int] = {}
        self._artifacts: dict[str, str] = {}  # file name → path among the version's artifacts
        self._kept = Downloads(self._uri)

    def files(self) -> dict[str, int]:
        """Files of the one artifact folder that holds config.json beside safetensors, with the tokenizer's."""
        listed = dict(self._walk(""))
        folders = sorted({PurePosixPath(path).parent for path in listed if path.endswith(".safetensors")})
        folders = [folder for folder in folders if str(folder / "config.json") in listed]
        if len(folders) != 1:
            found = ", ".join(map(str, folders)) or "none"
            raise SourceError(
                f"{self._source}: one folder with config.json and safetensors is needed, found: {found}"
            )
        for path, size in listed.items():
            parent, name = PurePosixPath(path).parent, PurePosixPath(path).name
            if parent == folders[0] or (parent == PurePosixPath(TOKENIZER_FOLDER) and name not in self._artifacts):
                self._artifacts[name], self._sizes[name] = path, size
        sizes = "\n".join(f"{path} {size}" for path, size in sorted(listed.items()))
        self._kept = Downloads(f"{self._store()}\n{self._uri}\n{sizes}")
        return self._sizes

    def identity(self) -> dict[str, str]:
        """The version, whose files do not change, and what tells it from one of that number in another registry."""
        found = self._version
        return {
            "version": str(found.version),
            "run_id": found.run_id or "",
            "created_ms": str(found.creation_timestamp),
        }

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        self._kept.fetch(names, self._sizes, folder, self._download)

    def discard(self) -> None:
        self._kept.discard()

    def _walk(self, path: str) -> Iterator[tuple[str, int]]:
        for entry in self._call("list_artifacts", artifact_path=path or None):
            if entry.is_dir:
                yield from self._walk(entry.path)
            else:
                yield entry.path, entry.file_size or 0

    def _download(self, name: str, path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            local = self._call("download_artifacts", artifact_path=self._artifacts[name], dst_path=folder)
            Path(local).replace(path)

    def _store(self) -> str:
        import mlflow

        return str(mlflow.get_registry_uri())

    def _call(self, function: str, artifact_path: str | None, **options: Any) -> Any:
        from mlflow import artifacts
        from mlflow.exceptions import MlflowException

        try:
            uri = self._uri if artifact_path is None else f"{self._uri}/{artifact_path}"
            return getattr(artifacts, function)(artifact_uri=uri, **options)
        except (MlflowException, OSError) as error:
            raise SourceError(
                f"{self._source}: MLflow could not give {artifact_path or 'a listing'}: {error}"
            ) from error
