"""A folder and a bucket behave alike: one suite for both, on a disk and on a real S3 server."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import boto3
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import files
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.s3 import S3
from clickstream_assets_tests.s3_proxy import proxy
from clickstream_assets_tests.servers import S3Server


@pytest.fixture(params=["folder", "bucket", "prefix in a bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "folder":
        return files.at(str(tmp_path / "root"))
    name = request.getfixturevalue("bucket")
    return files.at(f"s3://{name}" if request.param == "bucket" else f"s3://{name}/some/prefix")


def put(root: Files, path: str, content: bytes = b"") -> None:
    with root.create(path) as stream:
        stream.write(content)


def read(root: Files, path: str) -> bytes:
    with root.open(path) as stream:
        return stream.read()


def test_what_is_written_is_read_and_listed_with_its_size_and_time(root: Files) -> None:
    before = time.time_ns()
    put(root, "a/day=1/one.csv", b"content")
    (info,) = root.files("a")
    assert (info.path, info.size) == ("a/day=1/one.csv", 7)
    # S3 keeps milliseconds at best, AWS whole seconds.
    assert before - 1_500_000_000 < info.modified_ns < time.time_ns() + 1_500_000_000
    assert read(root, "a/day=1/one.csv") == b"content"
    assert root.relative(root.uri("a/day=1/one.csv")) == "a/day=1/one.csv"


def test_nothing_is_below_a_prefix_that_is_not_there(root: Files) -> None:
    assert root.files("nowhere") == [] and root.folders("nowhere") == []
    put(root, "a/one.csv")
    assert root.files("nowhere") == [] and root.files("a/on") == [], "a prefix is a folder, not the start of a name"


def test_files_are_sorted_and_unfinished_ones_hidden(root: Files) -> None:
    names = ["a/b/2.csv", "a/b c/ä.csv", "a/1.csv", "a/_tmp/3.csv", "a/.4.csv", "_a/5.csv"]
    for name in names:
        put(root, name)
    assert [info.path for info in root.files("a")] == ["a/1.csv", "a/b c/ä.csv", "a/b/2.csv"]
    assert [info.path for info in root.files("a", hidden=True)] == sorted(names[:-1])
    assert [info.path for info in root.files("_a")] == ["_a/5.csv"]
    assert root.folders("a") == ["_tmp", "b", "b c"]


def test_more_files_than_a_page_of_s3_are_all_listed(bucket: str) -> None:
    root = files.at(f"s3://{bucket}")
    for number in range(1100):
        put(root, f"many/{number:04}")
    assert [info.path for info in root.files("many")] == [f"many/{number:04}" for number in range(1100)]


def test_lists_of_many_folders_have_each_file_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are listed several at once by what their names begin with, and so may files beside them."""
    monkeypatch.setattr(files.S3Files, "_PAGE", 5)
    root = files.at(f"s3://{bucket}")
    names = [f"a/day={number:02}/{file}.csv" for number in range(30) for file in "xy"]
    names += ["a/day.csv", "a/day=0", "a/day=00.csv", "a/day=1x", "a/z.csv", "a/b/c/d.csv"]
    for name in names:
        put(root, name)
    assert [info.path for info in root.files("a")] == sorted(names)
    assert [info.path for info in root.files("")] == sorted(names)


def test_the_etag_changes_when_the_content_is_written_and_with_nothing_else(root: Files) -> None:
    def etags() -> dict[str, str]:
        return {info.path: info.etag for info in root.files("a")}

    put(root, "a/1", b"first")
    put(root, "a/2", b"other")
    before = etags()
    assert etags() == before
    time.sleep(0.01)
    put(root, "a/1", b"again")
    assert etags()["a/1"] != before["a/1"] and etags()["a/2"] == before["a/2"]


def test_a_file_of_many_parts_is_whole(root: Files) -> None:
    part = bytes(range(256)) * 4096
    with root.create("large") as stream:
        for _ in range(24):
            stream.write(part)
    with root.open("large") as stream:
        assert all(stream.read(len(part)) == part for _ in range(24)) and stream.read(1) == b""
    with root.open_random("large") as source:
        source.seek(23 * len(part) + 5)
        assert source.read(3) == b"\x05\x06\x07"


def test_a_file_is_moved_replaced_and_deleted(root: Files) -> None:
    root.write("a/1", b"first")
    root.write("a/1", b"second")
    root.move("a/1", "b/c/2")
    assert [info.path for info in (*root.files("a"), *root.files("b"))] == ["b/c/2"]
    assert read(root, "b/c/2") == b"second"
    put(root, "b/c/3")
    root.delete("b/c/2")
    root.delete("b/c/2")
    root.delete_folder("b/c")
    root.delete_folder("b/c")
    assert root.files("b", hidden=True) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a\0b"])
def test_no_path_leaves_the_root(root: Files, path: str) -> None:
    for use in (root.uri, root.files, lambda path: read(root, path), root.delete):
        with pytest.raises(ClickstreamError, match="is not a path below the root"):
            use(path)


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str) -> None:
    with pytest.raises(ClickstreamError, match=r"s3://nobodys-bucket cannot be listed: .*NoSuchBucket"):
        files.at("s3://nobodys-bucket").files("a")


def test_wrong_credentials_are_one_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 32)
    with pytest.raises(ClickstreamError, match=r"cannot be listed: .*SignatureDoesNotMatch"):
        files.at(f"s3://{bucket}").files("a")


def test_what_cannot_be_read_is_one_sentence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = files.at(f"s3://{bucket}")
    for use in (root.open, root.open_random):
        with pytest.raises(ClickstreamError, match=rf"s3://{bucket}/gone\.csv cannot be read: .*Run again"):
            use("gone.csv")
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(ClickstreamError, match=r"S3 cannot be used: .*nobodys"):
        files.at(f"s3://{bucket}").files("a")


def test_the_region_is_that_of_either_variable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert S3.find().region == "eu-west-3"
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert S3.find().region == "eu-west-2"


def test_a_profile_that_assumes_a_role_is_the_one_for_every_client(
    aws_endpoint: str, on_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow follows no such profile by itself; it would ask as nobody."""
    config = tmp_path / "config"
    config.write_text(
        "[profile pipeline]\nrole_arn = arn:aws:iam::123456789012:role/pipeline\nsource_profile = me\n[profile me]\n"
        f"aws_access_key_id = {on_s3.key}\naws_secret_access_key = {on_s3.secret}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_PROFILE": "pipeline",
        "AWS_ENDPOINT_URL_STS": aws_endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    with proxy(aws_endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        there = {"LocationConstraint": "eu-central-1"}
        boto3.Session().client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=there)
        root = files.at(f"s3://{name}")
        root.write("a", b"content")
        with root.open("a") as stream:
            assert stream.read() == b"content"
        with PyArrowFileIO(root.iceberg).new_input(root.uri("a")).open() as stream:
            assert stream.read() == b"content"
        assert [info.path for info in root.files("")] == ["a"]
        asked = [request for request in between.seen if f"/{name}" in request.path]
        assert {request.headers["user-agent"].partition("/")[0] for request in asked} >= {"aws-sdk-cpp", "Boto3"}
        assert all(request.headers.get("x-amz-security-token") for request in asked), "each with a session's keys"
        assert not [request for request in asked if on_s3.key in request.headers["authorization"]]
