"""Real servers for the tests, from PyPI, on free loopback ports; each ends with the test session that started it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: seconds that a server may take to start; SeaweedFS takes 4 on two busy cores
_START = 60


@dataclass(frozen=True)
class S3Server:
    """An S3 server that checks credentials: SeaweedFS. ``bucket``: one that is there."""

    endpoint: str
    bucket: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which every client finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def client(self) -> Any:
        """boto3's, for what a test does from outside."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="eu-central-1",
        )


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[S3Server]:
    """Start SeaweedFS with its files in ``folder``; its keys are made for this once."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    credentials = [{"accessKey": key, "secretKey": secret}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    # Every part has a port of its own, and another for gRPC.
    parts = ("master.port", "volume.port", "filer.port", "s3.port")
    names = [name for part in parts for name in (part, f"{part}.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    # Seven volumes are made for each bucket, of no size; with -volume.max=0 a disk with 10 GB free has enough for five.
    command = [
        *(str(Path(sys.executable).with_name("weed")), "-logtostderr", "server"),
        *(f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=2000", "-master.volumeSizeLimitMB=256"),
        *("-master.telemetry=false", "-s3", f"-s3.config={config}", "-s3.iam=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with running(command, folder / "weed.log"):
        server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", "tests", key, secret)
        _wait_for_a_put(server, folder / "weed.log")
        yield server


def _wait_for_a_put(server: S3Server, log: Path) -> None:
    """Its first seconds answer 500."""
    from botocore.exceptions import BotoCoreError, ClientError

    end = time.monotonic() + _START
    while True:
        try:
            server.client.create_bucket(Bucket=server.bucket)
            server.client.put_object(Bucket=server.bucket, Key="first", Body=b"content")
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > end:
                raise TimeoutError(f"SeaweedFS: {error}\n{log.read_text()[-3000:]}") from error
            time.sleep(0.2)


@contextlib.contextmanager
def aws(folder: Path) -> Iterator[str]:
    """Start MiniStack: the Glue catalog, and an S3 that takes any key and any credentials; its endpoint."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3,glue,athena,sqs,sns,events,sts,firehose,dynamodb,dynamodbstreams",
        "STATE_DIR": str(folder),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    command = [str(Path(sys.executable).with_name("ministack"))]
    with running(command, folder / "ministack.log", environment):
        end = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > end:
                raise TimeoutError(f"MiniStack: {(folder / 'ministack.log').read_text()[-3000:]}")
            time.sleep(0.1)
        yield endpoint


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, killed at the end of the block: nobody wants what it has."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=log.parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses at the moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
