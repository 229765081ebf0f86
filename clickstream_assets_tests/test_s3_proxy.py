"""The proxy of the fault tests: every client works through it, and each of its faults is what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import boto3
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from clickstream_assets.storage import files
from clickstream_assets.storage.s3 import S3
from clickstream_assets_tests.s3_proxy import Fault, Proxy, proxy
from clickstream_assets_tests.servers import S3Server


@pytest.fixture
def between(on_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy(on_s3.endpoint) as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL", started.endpoint)
        yield started


@pytest.fixture
def once(between: Proxy) -> Iterator[Any]:
    """A client that asks once."""
    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
    yield client
    client.close()


def agents(between: Proxy) -> str:
    return " ".join(request.headers.get("user-agent", "") for request in between.seen)


def test_every_client_works_through_it(between: Proxy, s3_root: str) -> None:
    """But for Sail, which is in every run of ``test_aws_faults``."""
    root = files.at(s3_root)
    large = os.urandom(24 * 1024 * 1024)
    with root.create("large") as stream:
        stream.write(large)
    with root.open("large") as stream:
        assert stream.read() == large
    with root.create("rows.parquet") as stream:
        pq.write_table(pa.table({"n": range(1000)}), stream)
    assert [info.path for info in root.files("")] == ["large", "rows.parquet"]
    with duckdb.connect() as connection:
        S3.find().prepare(connection)
        found = connection.execute(f"select sum(n) from read_parquet('{root.uri('rows.parquet')}')").fetchall()
    assert found == [(499_500,)]
    for name in ("aws-sdk-cpp", "Boto3", "duckdb"):
        assert name in agents(between), name
    assert {request.method for request in between.seen} >= {"GET", "HEAD", "POST", "PUT"}
    assert any(request.headers.get("expect") for request in between.seen)
    assert any(request.headers.get("transfer-encoding") == "chunked" for request in between.seen)


def test_each_fault_is_what_it_says(between: Proxy, once: Any, s3: S3Server) -> None:
    def keys() -> list[str]:
        return [entry["Key"] for entry in s3.client.list_objects_v2(Bucket=s3.bucket, Prefix="p/").get("Contents", ())]

    body = os.urandom(300_000)
    with between.fault(Fault(lambda r: r.method == "PUT", status=503, times=1)) as fault:
        with pytest.raises(ClientError, match="SlowDown"):
            once.put_object(Bucket=s3.bucket, Key="p/1", Body=body)
        assert keys() == [], "the server was not asked"
        once.put_object(Bucket=s3.bucket, Key="p/1", Body=body)
        assert fault.hits == 1
    with between.fault(Fault(lambda r: r.method == "PUT", cut_request=100_000)), pytest.raises(BotoCoreError):
        once.put_object(Bucket=s3.bucket, Key="p/2", Body=body)
    assert keys() == ["p/1"], "the server had half of it"
    with between.fault(Fault(lambda r: r.method == "PUT", cut_response=-1)), pytest.raises(BotoCoreError):
        once.put_object(Bucket=s3.bucket, Key="p/3", Body=body)
    assert keys() == ["p/1", "p/3"], "the server has done it"
    with between.fault(Fault(lambda r: r.method == "GET", cut_response=100_000)):
        stream = once.get_object(Bucket=s3.bucket, Key="p/3")["Body"]
        assert len(stream.read(100_000)) == 100_000
        with pytest.raises((BotoCoreError, OSError)):
            stream.read()
    happened: list[str] = []
    with between.fault(Fault(lambda r: r.path.endswith("p/3"), before=lambda: happened.append("now"), times=1)):
        assert once.get_object(Bucket=s3.bucket, Key="p/3")["Body"].read() == body
    assert happened == ["now"]
    with pytest.raises(AssertionError, match="did not happen"), between.fault(Fault(lambda r: False, status=503)):
        once.get_object(Bucket=s3.bucket, Key="p/3")["Body"].read()
