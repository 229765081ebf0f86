"""Connections that break, servers that are busy, gone or restarted, answers that are lost: S3, Glue and Redshift.

The servers are real; S3 and Glue are behind a proxy that does to requests what networks do. A run goes through, or it
fails with one sentence; and whatever happened, the next run leaves the tables that an undisturbed run leaves, row for
row.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb
import pytest

from clickstream_assets import faults
from clickstream_assets.defs import arrivals
from clickstream_assets.domains import domain
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import files, lake, spark
from clickstream_assets.storage import s3 as storage_s3
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.s3 import S3
from clickstream_assets_tests import forked, servers
from clickstream_assets_tests.conftest import HEADER, Home, use_home
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.s3_proxy import Fault, Proxy, Request, proxy
from clickstream_assets_tests.servers import S3Server
from clickstream_assets_tests.storage.test_lake import MONDAY, TUESDAY, read, stage, through_iceberg
from clickstream_assets_tests.test_aws import load_anew

DAY = "2024-03-05"

#: two contents of the day that replace each other; they differ in rows, rejects, dates, users and products
CONTENTS = {
    "first": [f"{n % 40},{n % 3},2024-03-05 10:{n % 60:02}:00,product_view,p{n % 7},," for n in range(400)],
    "second": [
        *(f"{n % 50},{n % 3},2024-03-04 23:{n % 60:02}:00,purchase,q{n % 5},{n}.10," for n in range(300)),
        *(f",{n},2024-03-05 10:00:00,page_view,,," for n in range(20)),
        "1,1,broken",
    ],
}

#: what the models keep for the next run
WORK_LISTS = ("ecommerce.stale_event_dates", "ecommerce.pending_ingestion_dates", "ops.run_window")

#: how often a request is made where it is known to fail each time; with the waits of six it takes half a minute
FEW = 2

Tables = dict[str, list[tuple[Any, ...]]]
When = Callable[[Request], bool]


def anything(_: Request) -> bool:
    return True


def on(part: str, *methods: str) -> When:
    """Requests with that in their path."""
    return lambda request: part in request.path and (not methods or request.method in methods)


def by(client: str) -> When:
    return lambda request: client in request.headers.get("user-agent", "")


def commit(request: Request) -> bool:
    """What makes a commit to Glue."""
    return request.headers.get("x-amz-target", "").endswith(".UpdateTable")


def few_attempts() -> None:
    load_anew()
    storage_s3.ATTEMPTS = lake.ATTEMPTS = spark.ATTEMPTS = FEW


@pytest.fixture
def between(on_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of S3, which every client takes for S3."""
    with proxy(on_s3.endpoint) as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL", started.endpoint)
        yield started


@pytest.fixture
def root(between: Proxy, s3_root: str) -> Files:
    return files.at(s3_root)


CLIENTS: dict[str, Callable[[Files], object]] = {
    "boto3": lambda root: root.files("there"),
    "Arrow reads": lambda root: root.read("there/1.csv"),
    "Arrow writes": lambda root: root.write("2", b"x"),
    "pyiceberg": lambda root: iceberg_io(root).new_input(root.uri("there/1.csv")).open().read(),
    "DuckDB": lambda root: through_duckdb(root),
}


def iceberg_io(root: Files) -> Any:
    from pyiceberg.io.pyarrow import PyArrowFileIO

    return PyArrowFileIO(root.iceberg)


def through_duckdb(root: Files) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        S3.find().prepare(connection)
        return connection.execute(f"select * from read_csv('{root.uri('there/1.csv')}')").fetchall()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_outlasts_two_seconds_of_a_busy_s3_and_lost_answers(root: Files, between: Proxy, client) -> None:
    root.write("there/1.csv", b"n\n1\n")
    with between.fault(Fault(anything, status=503, seconds=2)):
        CLIENTS[client](root)
    with between.fault(Fault(anything, cut_response=-1, times=2)):
        CLIENTS[client](root)


@pytest.mark.parametrize(
    "text",
    [
        "redshift_connector.error.InterfaceError: connection reset by peer",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "clickstream_assets.errors.PublishError: Redshift could not load a.b: s3://b/1.parquet: 503 SlowDown",
        "OSError: When getting information for key 'http 503/a' in bucket 'b': AWS Error ACCESS_DENIED",
    ],
)
def test_what_is_no_trouble_of_s3_is_not_told_as_such(home: Home, text: str) -> None:
    assert faults.explain(text, home.settings) is None


def test_parts_of_an_upload_that_break_off_are_sent_again(root: Files, between: Proxy) -> None:
    content = os.urandom(24 * 1024 * 1024)
    with between.fault(Fault(on("large", "PUT"), cut_request=200_000, times=2)) as fault:
        with root.create("large") as stream:
            stream.write(content)
        assert fault.hits == 2
    with between.fault(Fault(on("large", "GET"), cut_response=200_000, times=2)):
        assert root.read("large") == content


def test_an_upload_that_keeps_breaking_off_makes_no_object(
    root: Files, between: Proxy, s3: S3Server, monkeypatch
) -> None:
    """Arrow leaves the parts that arrived, which no listing of objects shows: the bucket's lifecycle removes them."""
    monkeypatch.setattr(storage_s3, "ATTEMPTS", FEW)
    lasting = between.fault(Fault(on("large", "PUT"), cut_request=200_000))
    with lasting, pytest.raises(OSError, match="NETWORK_CONNECTION"), root.create("large") as stream:
        stream.write(os.urandom(11 * 1024 * 1024))
    assert root.files("") == []
    left = s3.client.list_multipart_uploads(Bucket=s3.bucket, Prefix=root.root.rpartition("/")[2])["Uploads"]
    assert [upload["Key"].rpartition("/")[2] for upload in left] == ["large"]


@pytest.fixture
def before_glue(on_glue: None, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy(aws_endpoint) as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", started.endpoint)
        yield started


@pytest.fixture
def glue_home(home: Home, s3_root: str) -> Home:
    return Home(home.path, {"CLICKSTREAM_LAKE_URI": s3_root, "CLICKSTREAM_CATALOG": "glue"})


def test_a_commit_whose_answer_is_lost_is_kept(before_glue: Proxy, glue_home: Home) -> None:
    """boto3 asks again and is refused: what happened must not be taken for what did not."""
    ours = glue_home.platform.lake
    ours.publish(stage(ours, {MONDAY: "ab", TUESDAY: "c"}))
    with before_glue.fault(Fault(commit, cut_response=-1, times=1)) as fault:
        ours.publish(stage(ours, {MONDAY: "xyz"}))
        assert fault.hits == 1
    assert read(ours) == {MONDAY: ["x", "y", "z"], TUESDAY: ["c"]}
    assert [user for user, _ in through_iceberg(ours)] == ["c", "x", "y", "z"]
    assert sum(map(commit, before_glue.seen)) == 3, "two publications, and one that was asked for again"


def test_a_commit_of_others_just_before_ours_loses_nothing_and_doubles_nothing(
    before_glue: Proxy, glue_home: Home
) -> None:
    ours = glue_home.platform.lake
    ours.publish(stage(ours, {MONDAY: "a"}))
    other = glue_home.platform.lake
    staged = stage(other, {MONDAY: "bc", TUESDAY: "d"})
    with before_glue.fault(Fault(commit, before=lambda: other.publish(staged), times=1)):
        ours.publish(stage(ours, {MONDAY: "xyz"}))
    assert read(ours) == {MONDAY: ["x", "y", "z"], TUESDAY: ["d"]}
    assert [user for user, _ in through_iceberg(ours)] == ["d", "x", "y", "z"]


@dataclass(frozen=True)
class Shop:
    """A home on AWS. ``clean``: the tables that undisturbed runs of each content leave, on a laptop."""

    home: Home
    clean: dict[str, Tables]
    s3: Proxy
    glue: Proxy
    twin: Twin

    def land(self, content: str) -> None:
        text = "".join(f"{line}\n" for line in (HEADER, *CONTENTS[content]))
        self.home.platform.landing.write(f"ecommerce/ingestion_date={DAY}/a.csv", text.encode())

    def run(self, first: Callable[[], None] = load_anew) -> forked.Command:
        return forked.start(self.home, "run", "ecommerce", "--date", DAY, first=first)

    def check_nothing_is_torn(self) -> None:
        for name, rows in self.home.tables().items():
            if name in WORK_LISTS:
                continue
            both = [content[name] for content in self.clean.values()]
            if name.startswith("ops."):
                assert {repr(row) for row in rows} <= {repr(row) for known in both for row in known}, f"{name} is torn"
            else:
                assert rows in both, f"{name} is torn"


def sentence(command: forked.Command) -> str:
    """The last line, if the command failed as it should: with one, and no traceback."""
    assert command.join() == 1, command.printed()
    lines = command.printed().strip().splitlines()
    assert lines[-1].startswith("clickstream: "), lines
    assert not [line for line in lines if "Traceback" in line], lines
    return lines[-1]


@pytest.fixture(scope="module")
def shop(s3: S3Server, aws_endpoint: str, twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Its day is published with the first content, through the proxies and without a fault."""
    import boto3

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        before_s3, before_glue = stack.enter_context(proxy(s3.endpoint)), stack.enter_context(proxy(aws_endpoint))
        addresses = {"AWS_ENDPOINT_URL": before_s3.endpoint, "AWS_ENDPOINT_URL_GLUE": before_glue.endpoint}
        for name, value in (s3.environment | addresses).items():
            patch.setenv(name, value)
        glue = boto3.client("glue")
        for database in glue.get_databases()["DatabaseList"]:
            glue.delete_database(Name=database["Name"])
        folder = tmp_path_factory.mktemp("faults")
        clean: dict[str, Tables] = {}
        laptop = use_home(folder / "laptop", patch)
        for name, content in reversed(CONTENTS.items()):
            laptop.land(DAY, "a.csv", *content)
            laptop.run(DAY)
            clean[name] = laptop.tables()
            del clean[name]["spectrum_ecommerce.events_raw"]  # a view over the lake's files; Redshift has the catalog
        root = f"s3://{s3.bucket}/faults"
        settings = twin.environment | {
            "REDSHIFT_DATABASE": stack.enter_context(twin.fresh_database()),
            "CLICKSTREAM_ENVIRONMENT": "aws",
            "CLICKSTREAM_PII_KEY": secrets.token_hex(32),
            "CLICKSTREAM_LANDING_URI": f"{root}/landing",
            "CLICKSTREAM_LAKE_URI": f"{root}/lake",
        }
        made = Shop(use_home(folder / "aws", patch, **settings), clean, before_s3, before_glue, twin)
        made.land("first")
        made.run().succeed()
        assert made.home.tables() == clean["first"]
        yield made


def test_bad_weather_does_not_keep_a_run_from_ending_right(shop: Shop) -> None:
    """A busy S3 at times, uploads, downloads and answers that break off, a lost commit: it goes through."""
    shop.land("second")
    weather = [
        Fault(anything, status=503, seconds=2),
        Fault(by("object_store"), status=503, seconds=5),
        Fault(on(".parquet", "PUT", "POST"), cut_request=20, every=3),
        Fault(on(".parquet", "GET"), cut_response=10, every=3),
        Fault(on("landing", "GET"), cut_response=10, every=2),
        Fault(anything, cut_response=-1, every=20),
        Fault(anything, status=503, every=10),
    ]
    with ExitStack() as stack:
        for fault in weather:
            stack.enter_context(shop.s3.fault(fault))
        stack.enter_context(shop.glue.fault(Fault(commit, cut_response=-1, every=2)))
        shop.run().succeed()
    assert shop.home.tables() == shop.clean["second"]


#: what keeps happening, to S3 or to Glue, and where the sentence says so
LASTING: dict[str, tuple[str, Fault, str]] = {
    "landing cannot be read": ("s3", Fault(on("a.csv", "GET"), cut_response=10), "landing/ecommerce/"),
    "uploads break off": ("s3", Fault(on("events_raw/data", "PUT"), cut_request=20), "/events_raw/data/"),
    "a busy S3 while raw is committed": ("s3", Fault(on("events_raw/metadata"), status=503), "/events_raw/metadata/"),
    "Glue answers with an error": ("glue", Fault(commit, status=503), "the catalog (UpdateTable)"),
    "commits that nobody is told of": ("glue", Fault(commit, cut_response=-1), "http://127.0.0.1:"),
    "a busy S3 for the engine": ("s3", Fault(by("object_store"), status=503), "s3://"),
}


def test_what_lasts_ends_a_run_with_one_sentence_and_the_next_one_ends_right(shop: Shop) -> None:
    shop.land("first")
    for name, (where, fault, place) in LASTING.items():
        with getattr(shop, where).fault(fault):
            last = sentence(shop.run(few_attempts))
        assert place in last and "run again" in last.lower(), name
        shop.check_nothing_is_torn()
    shop.run().succeed()
    assert shop.home.tables() == shop.clean["first"]


def closed_port() -> str:
    (port,) = servers.free_ports(1)
    return f"http://127.0.0.1:{port}"


def test_an_s3_that_is_not_there_is_told_in_one_sentence(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    last = sentence(shop.run(few_attempts))
    assert os.environ["AWS_ENDPOINT_URL"] in last or "s3://" in last
    begun = time.monotonic()
    look = arrivals._sensor(domain("ecommerce"), 30)
    with pytest.raises(ClickstreamError, match=r"cannot be listed: .*Could not connect to the endpoint"):
        look(dg.build_sensor_context(resources={"platform": shop.home.platform}))
    assert time.monotonic() - begun < 45, "Dagster gives a tick a minute"


def test_a_restart_of_redshift_between_copy_and_commit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land("second")
    restarted: list[threading.Thread] = []

    def restart() -> None:
        shop.twin.stop()
        shop.twin.start()

    def raise_planned(sql: str) -> None:
        if sql.startswith('insert into "ecommerce"."events_cleaned"') and not restarted:
            restarted.append(threading.Thread(target=restart))
            restarted[0].start()
            raise ConnectionResetError  # of the session at work, however long the restart takes

    monkeypatch.setattr(shop.twin, "raise_planned", raise_planned)
    last = sentence(shop.run())
    restarted[0].join()
    assert "Redshift failed at" in last and last.endswith("Run again: it ends right.")
    shop.check_nothing_is_torn()
    shop.run().succeed()
    assert shop.home.tables() == shop.clean["second"]
