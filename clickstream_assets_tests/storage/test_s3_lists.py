"""Lists of objects as boto3 reads them: the same objects, times and folders, from real servers."""

from __future__ import annotations

from typing import Any

import pytest

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import files, s3, s3_lists
from clickstream_assets_tests.servers import S3Server

ODD = ("plain.csv", "ö ü.csv", "a&b;<c>.csv", "100%.csv", "a+b c.csv", "&amp;lt;.csv", '"quoted".csv', "deep/er/x.csv")


@pytest.fixture(params=["seaweedfs", "ministack"])
def root(request: pytest.FixtureRequest, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new prefix on a server: each writes its answers in its own way."""
    if request.param == "ministack":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("aws_endpoint"))
        bucket = s3_root.split("/")[2]
        if bucket not in [one["Name"] for one in s3.client().list_buckets()["Buckets"]]:
            s3.client().create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return s3_root


def put(root: str, *names: str) -> None:
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    for name in names:
        s3.client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=name.encode())


def listed(client: Any, root: str, **further: str) -> list[Any]:
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{prefix}/", PaginationConfig={"PageSize": 3}, **further
    )
    found = []
    for page in pages:
        found += [(e["Key"], e["ETag"], e["Size"], e["LastModified"]) for e in page.get("Contents", ())]
        found += [one["Prefix"] for one in page.get("CommonPrefixes", ())]
    return found


@pytest.mark.parametrize("further", [{}, {"Delimiter": "/"}], ids=["all", "folders"])
def test_a_list_is_what_boto3_reads(root: str, further: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, *ODD)
    wanted = listed(s3.client(), root, **further)
    ours = s3.client()
    s3_lists.register(ours)
    read = []
    monkeypatch.setattr(s3_lists, "_parse", lambda text, parse=s3_lists._parse: read.append(parse(text)) or read[-1])
    assert listed(ours, root, **further) == wanted
    assert len(wanted) == len(ODD) and len(read) >= 3 and None not in read, "it was read here"


def test_what_is_not_such_a_list_is_left_to_boto3() -> None:
    page = "<ListBucketResult>{}</ListBucketResult>"
    entry = "<Key>a</Key><ETag>&quot;1&quot;</ETag><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
    entry = f"<Contents>{entry}</Contents>"
    found = s3_lists._parse(page.format(entry))
    assert found is not None and [one["Key"] for one in found["Contents"]] == ["a"] and not found["IsTruncated"]
    twice = entry.replace("<Size>1</Size>", "<Key>b</Key>")
    for wrong in (entry, page.format(twice), page.format(entry.replace("<Size>1</Size>", "")), "<Error/>"):
        assert s3_lists._parse(wrong) is None


def test_a_bucket_that_is_not_there_is_said_as_before(on_s3: S3Server) -> None:
    with pytest.raises(ClickstreamError, match="cannot be listed"):
        files.at("s3://nothing-here").files("a")


def test_more_than_a_page_is_listed_in_parts_and_nothing_is_missing_or_twice(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"day=2026-{month:02}-{day:02}/{n}.csv" for month in range(1, 5) for day in range(1, 11) for n in range(3)]
    names += ["a.csv", "day=2026-01-01/deeper/b.csv", "day=2026-01-010/c.csv", "z.csv"]
    put(s3_root, *names)
    monkeypatch.setattr(files.S3Files, "_PAGE", 20)
    place = files.at(s3_root)
    asked: list[Any] = []
    place._client.meta.events.register("before-call.s3.ListObjectsV2", lambda params, **_: asked.append(params))
    assert [info.path for info in place.files("")] == sorted(names)
    prefixes = {params["url_path"] + str(params["query_string"]["prefix"]) for params in asked}
    assert 4 < len(prefixes) < 20, "days that begin alike are one list"
