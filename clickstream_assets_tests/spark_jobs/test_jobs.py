"""Raw → cleaned as a job of Glue and of EMR Serverless: by settings alone, and with what Sail makes of the same rows.

What runs is the package of ``make package``, in a real Spark on Java, with what the API got: see ``cluster``.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import tarfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.domains import DOMAINS
from clickstream_assets.generate import generator
from clickstream_assets.spark_jobs import package
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.events import FEED, event, land
from clickstream_assets_tests.servers import S3Server
from clickstream_assets_tests.spark_jobs.cluster import APPLICATION, GLUE_JOB, ROLE, Cluster
from clickstream_assets_tests.spark_jobs.webhdfs import gateway

#: Dagster's own, where Pipes describes the run to the job
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:AssetExecutionContext\.\w+ is deprecated:DeprecationWarning"),
]

DAYS = (date(2024, 3, 1), date(2024, 3, 2))

#: pseudonyms are the same with the same key
KEY = secrets.token_hex(32)


@pytest.fixture(scope="module")
def uploaded(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the package is, as a user would have put it there."""
    for path in package.build(tmp_path_factory.mktemp("package")):
        s3.client.upload_file(str(path), s3.bucket, f"jobs/{path.name}")
    return f"s3://{s3.bucket}/jobs"


@pytest.fixture
def cluster(on_s3: S3Server, uploaded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with gateway(on_s3) as storage, Cluster(on_s3, storage, tmp_path, f"{uploaded}/{package.SCRIPT}") as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def glue(uploaded: str, s3_root: str) -> dict[str, str]:
    return {
        "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake",
        "CLICKSTREAM_PII_KEY": KEY,
        "CLICKSTREAM_SPARK_JOBS": "glue",
        "CLICKSTREAM_SPARK_PACKAGE_URI": uploaded,
        "CLICKSTREAM_GLUE_JOB": GLUE_JOB,
    }


@pytest.fixture
def emr(glue: dict[str, str]) -> dict[str, str]:
    further = {"CLICKSTREAM_EMR_APPLICATION_ID": APPLICATION, "CLICKSTREAM_EMR_ROLE_ARN": ROLE}
    return glue | further | {"CLICKSTREAM_SPARK_JOBS": "emr-serverless"}


def materialize(home: Home, domain: str, *, layers: Sequence[str] = ("raw", "cleaned")) -> dg.ExecuteInProcessResult:
    """Raw and cleaned of the days, as runs of Dagster; the last run, and only that may fail."""
    (feed,) = DOMAINS[domain].feeds
    first, last = map(str, DAYS)
    with run.instance(home.settings) as storage:
        for layer in layers:
            table = feed.raw if layer == "raw" else feed.cleaned
            done = (
                run._definitions()
                .resolve_job_def(domain)
                .execute_in_process(
                    instance=storage,
                    asset_selection=[dg.AssetKey(table.key)],
                    tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
                    raise_on_error=False,
                )
            )
            assert done.success or layer == layers[-1]
    return done


def failure(done: dg.ExecuteInProcessResult) -> str:
    """What the failed step's error, or what it came from, says."""
    (event,) = (event for event in done.all_events if event.is_step_failure)
    error, said = event.step_failure_data.error, ""
    while error is not None:
        said, error = f"{said}\n{error.message}", error.cause
    return said


def shown(home: Home, domain: str) -> dict[str, list[tuple[Any, ...]]]:
    (feed,) = DOMAINS[domain].feeds
    return {name: home.table(name) for name in (feed.cleaned.name, "ops.quarantine", "ops.row_ledger")}


def test_ecommerce_by_emr_serverless_is_what_sail_makes(
    cluster: Cluster, emr: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []
    for name, further in (("sail", {}), ("job", emr)):
        home = use_home(tmp_path / name, monkeypatch, **further)
        generator("ecommerce")(home.platform.landing.write, first=DAYS[0], last=DAYS[1], rows_per_day=500, faults=True)
        assert materialize(home, "ecommerce").success
        tables.append(shown(home, "ecommerce"))
    by_sail, by_job = tables
    assert len(by_sail["ecommerce.events_cleaned"]) > 700
    assert len({row[4] for row in by_sail["ops.quarantine"]}) > 3
    assert by_job == by_sail
    (one,) = cluster.runs
    assert one.request["executionRoleArn"] == ROLE


def test_clickstream_by_glue_is_what_sail_makes_also_of_days_of_which_some_hours_stay(
    cluster: Cluster, glue: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_assets.storage.cleaning.BY_HOUR", 10)
    first = [event(f"e{n}", f"2024-03-01T{n % 24:02}:00:00Z", page_url=f"https://a.example/p/{n}") for n in range(96)]
    # Each twice, in an hour that is made again and in one that stays; which one is kept, their hashes say.
    first += [event(f"t{n}", f"2024-03-01T{hour}:10:00Z") for n in range(8) for hour in ("05", "20")]
    # e5 and e30 again, in other hours.
    later = [event("e5", "2024-03-01T09:30:00Z"), event("e30", "2024-03-01T10:30:00Z"), event("new", 1709254800000)]
    other = [
        event("a", "2024-03-02T01:00:00Z", user_agent="Googlebot/2.1 (+http://www.google.com/bot.html)"),
        event("b", "2024-03-02T02:00:00Z", page_url="https://a.example/?utm_source=a%20b&utm_medium=%zz&gclid=1"),
        event("b", "2024-03-02T02:00:00Z", price="1e2", quantity="2"),
        event("b", "2024-03-02T02:00:00Z", price="0.005", quantity="2"),
        event("d", "2024-03-02T02:00:00Z", page_url="https://a.example/?utm_source=%ff&utm_medium=%+f&utm_term=%C3%A9"),
        event("old", "0001-01-01T00:00:00Z"),
        event("", "2024-03-02T02:00:00Z"),
        event("c", "2024-03-02T02:00:00Z", quantity="-1", email="someone@example.com"),
    ]
    tables = []
    for name, further in (("sail", {"CLICKSTREAM_PII_KEY": KEY}), ("job", glue)):
        by_sail = {key: value for key, value in further.items() if key != "CLICKSTREAM_SPARK_JOBS"}
        home = use_home(tmp_path / name, monkeypatch, **by_sail)
        land(home, "2024-03-01", "a.gz", *first)
        assert materialize(home, "clickstream").success
        assert cluster.runs == []
        home = use_home(tmp_path / name, monkeypatch, **further)
        land(home, "2024-03-02", "b.gz", *later, *other)
        assert materialize(home, "clickstream").success
        tables.append(shown(home, "clickstream"))
    assert tables[1] == tables[0]
    (one,) = cluster.runs
    assert set(one.request["Arguments"]) == {"--extra-py-files", "--dagster-pipes-context", "--dagster-pipes-messages"}
    (work,) = one.told["work"]
    assert 0 < len(work["hours"]["2024-03-01"]) < 24
    assert work["elsewhere"]["2024-03-01"]


def test_a_job_that_fails_is_told_in_one_sentence_and_nothing_is_published(
    cluster: Cluster, glue: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = use_home(tmp_path / "home", monkeypatch, **glue)
    land(home, "2024-03-01", "a.gz", event("e", "2024-03-01T10:00:00Z"))
    assert materialize(home, "clickstream", layers=("raw",)).success
    (file,) = home.platform.lake.snapshot(FEED.raw).files
    cluster.s3.client.delete_object(Bucket=cluster.s3.bucket, Key=file.uri.removeprefix(f"s3://{cluster.s3.bucket}/"))
    said = failure(materialize(home, "clickstream", layers=("cleaned",)))
    (one,) = cluster.runs
    assert re.search(
        rf"The Glue job {GLUE_JOB}, run {one.id}, ended as FAILED: \w+: .*{Path(file.uri).name}.* "
        rf"Its logs are in CloudWatch, in the stream {one.id} of /aws-glue/jobs/error\.",
        said,
    ), said
    assert home.platform.lake.version(FEED.cleaned) is None
    folder = home.platform.lake.folder(FEED.cleaned)
    assert home.platform.lake.files.files(folder, hidden=True) == []


def test_what_is_wrong_before_the_job_begins_is_one_sentence(
    cluster: Cluster, emr: dict[str, str], s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = use_home(tmp_path / "home", monkeypatch, **emr)
    land(home, "2024-03-01", "a.gz", event("e", "2024-03-01T10:00:00Z"))
    assert materialize(home, "clickstream", layers=("raw",)).success
    cluster.refuses = "Worker could not be allocated"
    for further, says in (
        ({"CLICKSTREAM_SPARK_PACKAGE_URI": f"{s3_root}/none"}, r"/none/click\w+\S* is not there: give `make package`"),
        (
            {"CLICKSTREAM_EMR_APPLICATION_ID": "other"},
            r"application other could not be started: .*Look at the settings",
        ),
        (
            {},
            rf"application {APPLICATION}, run \w+, ended as FAILED: Worker could not be allocated\. Its logs are what",
        ),
    ):
        for name, value in further.items():
            monkeypatch.setenv(name, value)
        assert re.search(says, failure(materialize(home, "clickstream", layers=("cleaned",))))
        for name in further:
            monkeypatch.setenv(name, emr[name])
    assert len(cluster.runs) == 1


def test_who_interrupts_the_step_stops_the_job(
    cluster: Cluster, glue: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.idle = True
    home = use_home(tmp_path / "home", monkeypatch, **glue)
    land(home, "2024-03-01", "a.gz", event("e", "2024-03-01T10:00:00Z"))
    command = forked.start(home, "run", "clickstream", "--date", "2024-03-01")
    end = time.monotonic() + 120
    while not cluster.runs and command.process.is_alive() and time.monotonic() < end:
        time.sleep(0.2)
    (one,) = cluster.runs
    os.kill(command.process.pid, signal.SIGINT)
    assert command.join() != 0
    assert one.stopped, command.printed()


def test_the_package_is_the_same_bytes_each_time_and_knows_no_dagster_but_pipes(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        package.archive.cache_clear()
        made.append([(path.name, path.read_bytes()) for path in package.build(tmp_path / name, distributions=("six",))])
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "a" / made[0][0][0]) as opened:
        names = opened.namelist()
        ours = [name for name in names if name.startswith("clickstream_assets/") and name.endswith(".py")]
        imports = {
            line.split()[1].partition(".")[0]
            for name in ours
            for line in opened.read(name).decode().splitlines()
            if re.match(r"(from|import) \w", line)
        }
    assert {"dagster_pipes", "pyspark", "pyarrow"} <= imports
    assert imports.isdisjoint(
        {"dagster", "dagster_aws", "dbt", "duckdb", "pandas", "numpy", "pandera", "orjson", "isal"}
    )
    with tarfile.open(tmp_path / "a" / package.DEPENDENCIES) as packed:
        assert "six.py" in packed.getnames()
