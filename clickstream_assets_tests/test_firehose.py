"""Events sent to a delivery stream: what arrives in the bucket behind it, and what is sent again.

Firehose and S3 are MiniStack's, which delivers each record as an object of its own. Refusals are a proxy's.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from clickstream_assets import firehose
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.firehose import DeliveryStream
from clickstream_assets.generate.clickstream import records
from clickstream_assets.storage import s3
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.servers import free_ports

REGION = "eu-central-1"
PREFIX = "clickstream/year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/"
MIB = 1024 * 1024


class Refusing:
    """A proxy in front of Firehose that answers for some records that they were not taken, and keeps them back.

    ``refuses``: by a record's content and how often it came before. ``calls``: the records of each call.
    """

    def __init__(self, server: str):
        self.forget()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(outer._answer(server, body, dict(self.headers))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def forget(self) -> None:
        """Refuse nothing, and begin anew."""
        self.refuses: Callable[[bytes, int], bool] = lambda record, before: False
        self.calls: list[list[bytes]] = []
        self._came: Counter[bytes] = Counter()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, server: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        contents = [base64.b64decode(record["Data"]) for record in body["Records"]]
        self.calls.append(contents)
        refused = [self.refuses(content, self._came[content]) for content in contents]
        self._came.update(contents)
        taken = [record for record, no in zip(body["Records"], refused, strict=True) if not no]
        results = iter(())
        if taken:
            kept = {name: value for name, value in headers.items() if name.lower().startswith(("x-amz", "auth"))}
            request = urllib.request.Request(
                server, json.dumps(body | {"Records": taken}).encode(), kept | {"Content-Type": headers["Content-Type"]}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                results = iter(json.loads(answer.read())["RequestResponses"])
        failure = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
        responses = [failure if no else next(results) for no in refused]
        return {"FailedPutCount": sum(refused), "Encrypted": False, "RequestResponses": responses}


@dataclass(frozen=True)
class Stream:
    """A delivery stream, and the bucket behind it."""

    endpoint: str
    name: str
    proxy: Refusing = field(repr=False)

    def objects(self) -> dict[str, bytes]:
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        # One at a time waits 40 ms for each: the server's answers are in two packets.
        with ThreadPoolExecutor(10) as pool:
            contents = pool.map(lambda key: client.get_object(Bucket=self.name, Key=key)["Body"].read(), keys)
            return dict(zip(keys, contents, strict=True))

    def arrived(self) -> Counter[bytes]:
        return Counter(self.objects().values())


@pytest.fixture(scope="module")
def proxied(aws_endpoint: str) -> Iterator[Refusing]:
    proxy = Refusing(aws_endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def stream(home: Home, aws_endpoint: str, proxied: Refusing, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A new stream, and the environment in which it is found, behind the proxy."""
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}",
        "AWS_ENDPOINT_URL_FIREHOSE": aws_endpoint,
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"b{secrets.token_hex(8)}"
    boto3.client("s3", endpoint_url=aws_endpoint).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    destination = {
        "BucketARN": f"arn:aws:s3:::{name}",
        "RoleARN": "arn:aws:iam::123456789012:role/delivery",
        "Prefix": PREFIX,
        "ErrorOutputPrefix": "failed/",
        "CompressionFormat": "GZIP",
    }
    boto3.client("firehose").create_delivery_stream(
        DeliveryStreamName=name, DeliveryStreamType="DirectPut", ExtendedS3DestinationConfiguration=destination
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", proxied.endpoint)
    monkeypatch.setattr(firehose, "FIRST_WAIT", 0.001)
    proxied.forget()
    return Stream(aws_endpoint, name, proxied)


def test_what_is_generated_arrives_record_by_record(home: Home, stream: Stream) -> None:
    dates = ("--from", "2024-03-01", "--to", "2024-03-02")
    began = datetime.now(UTC)
    ran = forked.start(
        home, "generate", "clickstream", *dates, "--rows-per-day", "100", "--faults", "--firehose", stream.name
    )
    ran.succeed()
    planted: dict[str, int] = {}
    made = records(
        first=date(2024, 3, 1), last=date(2024, 3, 2), rows_per_day=100, seed=0, faults=True, planted=planted
    )
    expected = Counter(one + b"\n" for some in made for one in some)
    objects = stream.objects()
    assert Counter(objects.values()) == expected
    days = {f"clickstream/year={day:%Y}/month={day:%m}/day={day:%d}" for day in (began, datetime.now(UTC))}
    assert {key.rpartition("/")[0] for key in objects} <= days
    printed = ran.printed().splitlines()
    assert f"{expected.total()} records sent to the delivery stream {stream.name}" in printed
    assert [line.split("\t") for line in printed if "\t" in line] == [[k, str(n)] for k, n in sorted(planted.items())]
    assert planted["bad_json"] == 2 and not (home.path / "landing").exists()


def test_a_call_has_at_most_500_records_and_4_mib(stream: Stream) -> None:
    large = [bytes([97 + n % 26]) * (1000 * 1024 - n) for n in range(9)]
    small = [f"{n}\n".encode() for n in range(600)]
    told: list[int] = []
    assert DeliveryStream(stream.name).send([*small, *large, *small], told.append) == 1_209
    sizes = [(len(call), sum(map(len, call))) for call in stream.proxy.calls]
    assert max(n for n, _ in sizes) == 500 and 3 * MIB < max(size for _, size in sizes) <= 4 * MIB
    assert stream.arrived() == Counter([*small, *large, *small])
    assert told == sorted(told) and told[-1] == 1_209 and len(told) == len(sizes)


def test_only_what_was_refused_is_sent_again(stream: Stream) -> None:
    stream.proxy.refuses = lambda record, before: before < int(record) % 4
    sent = [f"{n}\n".encode() for n in range(700)]
    assert DeliveryStream(stream.name).send(sent, lambda count: None) == 700
    assert stream.arrived() == Counter(sent), "each once"
    assert [len(call) for call in stream.proxy.calls] == [500, 375, 250, 125, 200, 150, 100, 50]
    assert Counter(one for call in stream.proxy.calls for one in call) == {one: 1 + int(one) % 4 for one in sent}


def test_what_is_refused_for_good_is_counted(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.proxy.refuses = lambda record, before: int(record) in (510, 520, 999)
    monkeypatch.setattr(firehose, "ATTEMPTS", 3)
    sent = [f"{n}\n".encode() for n in range(1_201)]
    with pytest.raises(ClickstreamError) as caught:
        DeliveryStream(stream.name).send(iter(sent), lambda count: None)
    assert str(caught.value) == (
        f"204 of 1,201 records were not sent to the delivery stream {stream.name}: it did not take them in 3 attempts "
        "(ServiceUnavailableException: Slow down): wait a while, or have its quota raised, then send all again: those "
        "that it has are dropped as duplicates."
    )
    arrived = stream.arrived()
    assert arrived.total() == len(arrived) == 997
    assert [len(call) for call in stream.proxy.calls] == [500, 500, 3, 3]


def test_the_waits_grow_are_random_and_end(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(firehose, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(firehose.time, "sleep", waits.append)
    monkeypatch.setattr(firehose.random, "uniform", lambda low, high: high if low == 0 else None)
    stream.proxy.refuses = lambda record, before: True
    with pytest.raises(ClickstreamError, match=r"^1 of 1 records were not sent"):
        DeliveryStream(stream.name).send([b"a"], lambda count: None)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0]


def test_a_record_that_is_too_long_is_told(stream: Stream) -> None:
    with pytest.raises(ClickstreamError, match=r"^2 of 502 records .* 1,024,001 bytes and Firehose takes 1,024,000"):
        DeliveryStream(stream.name).send([*[b"a"] * 500, b"b" * 1_024_001, b"c"], lambda count: None)


def test_a_stream_that_cannot_be_used_is_one_sentence(
    home: Home, stream: Stream, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", aws_endpoint)
    arguments = ("generate", "clickstream", "--from", "2024-03-01", "--to", "2024-03-01", "--rows-per-day", "600")
    ran = forked.start(home, *arguments, "--firehose", "nothing")
    assert ran.join() == 1
    (line,) = ran.printed().strip().splitlines()
    assert line.startswith("clickstream: 600 of 600 records were not sent to the delivery stream nothing: ")
    assert "mend the name, or AWS_REGION" in line

    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ClickstreamError, match=r"^2 of 2 records .*: check the name, AWS_REGION, the credentials"):
        DeliveryStream(stream.name).send([b"a", b"b"], lambda count: None)


def test_another_domain_is_not_sent(home: Home) -> None:
    dates = ("--from", "2024-03-01", "--to", "2024-03-01", "--rows-per-day", "1")
    ran = forked.start(home, "generate", "ecommerce", *dates, "--firehose", "nothing")
    assert ran.join() == 1
    assert ran.printed() == "clickstream: --firehose sends the domain clickstream, not 'ecommerce': leave it out.\n"
