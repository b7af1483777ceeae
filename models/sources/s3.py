"""S3 or anything that speaks it: AWS_ENDPOINT_URL, credentials and region from boto3's usual places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import SourceError
from models.manifest import is_source
from models.sources._files import Downloads


def open_source(source: str, revision: str | None) -> S3Source:
    """The model at `source` ("s3://bucket/prefix"); `revision` does not apply."""
    if revision is not None:
        raise SourceError(f"model.source {source}: model.revision is for the hub; set it to null")
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not bucket or not prefix.strip("/"):
        raise SourceError(f"model.source {source!r} must be s3://bucket/prefix")
    return S3Source(source, bucket, prefix.strip("/") + "/")


class S3Source:
    downloads = True

    def __init__(self, source: str, bucket: str, prefix: str) -> None:
        import boto3
        from botocore.config import Config

        self._source, self._bucket, self._prefix = source, bucket, prefix
        # Not the default session, which keeps old credentials; and a host that is away is found in half a minute.
        self._client: Any = boto3.Session().client("s3", config=Config(connect_timeout=5))
        self._sizes: dict[str, int] = {}
        self._tags: dict[str, str] = {}
        self._kept = Downloads(source)

    def files(self) -> dict[str, int]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
        )
        try:
            for page in pages:
                for entry in page.get("Contents", []):
                    name = entry["Key"].removeprefix(self._prefix)
                    if name:  # some tools leave an empty object for the folder itself
                        self._sizes[name] = entry["Size"]
                        self._tags[name] = entry["ETag"].strip('"')
        except (BotoCoreError, ClientError) as error:
            raise SourceError(f"{self._source} could not be listed: {error}") from error
        if not self._sizes:
            raise SourceError(f"{self._source} holds no files: check bucket and prefix")
        listed = sorted(f"{name} {size} {self._tags[name]}" for name, size in self._sizes.items())
        self._kept = Downloads("\n".join([self._source, *listed]))
        return self._sizes

    def identity(self) -> dict[str, str]:
        """Each object's entity tag, which S3 changes with the object."""
        return {name: self._tags[name] for name in sorted(self.files()) if is_source(name)}

    def fetch(self, names: Sequence[str], folder: Path) -> None:
        self._kept.fetch(names, self._sizes, folder, self._download)

    def discard(self) -> None:
        self._kept.discard()

    def _download(self, name: str, path: Path) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.download_file(self._bucket, self._prefix + name, str(path))
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise SourceError(f"{self._source}/{name} could not be downloaded: {error}") from error
