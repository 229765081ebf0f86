"""The same graph on AWS: the servers are real and on this machine, and every table is what a laptop has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import sqlglot

from clickstream_assets import dashboards, dbt, domains, price, run
from clickstream_assets.dashboards import read
from clickstream_assets.days import day_range
from clickstream_assets.dbt import PROJECT
from clickstream_assets.generate import generator
from clickstream_assets.run import instance
from clickstream_assets.schemas import TABLES
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import HEADER, Home, empty_glue, use_home
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.servers import S3Server

FIRST, LAST = date(2024, 3, 1), date(2024, 3, 2)

#: texts as long as Redshift takes them and longer, in rows that are kept and in rejects of raw and of cleaned
LONG = "\n".join(
    (
        HEADER,
        f"long,1,2024-03-01T10:00:00,page_view,,,{'é' * 32_767}e",
        f"longer,1,2024-03-01T10:00:00,page_view,,,{'é' * 32_768}",
        f"longest,1,never,page_view,,,{'🛒' * 100_000}",
        f"ragged,{'🛒' * 100_000}",
    )
).encode() + b"\nnotext," + b"\xff" * 100_000 + b",,,,,\n"  # fmt: skip

#: what dbt made of the models, for whoever reviews a change of them
GOLDEN = Path(__file__).with_name("redshift_models.sql")

LAKE = (
    *("ecommerce_raw", "ecommerce_cleaned", "clickstream_raw", "clickstream_cleaned"),
    *("analytics_raw", "analytics_cleaned", "sales_raw", "sales_cleaned", "ops"),
)
DOMAINS = ("ecommerce", "clickstream", "ga4", "sales")

#: as users write them, for DuckDB and for Redshift
QUERIES = (
    "SELECT * FROM spectrum_analytics.ga_events_raw WHERE date >= '2024-01-01';",
    "SELECT date, page_path, sessions FROM spectrum_analytics.ga_events_raw WHERE date >= '2024-01-01';",
    "SELECT event_date, page_path, sessions, total_users FROM analytics.ga4_events_cleaned "
    "WHERE event_date >= '2024-01-01';",
)

#: pseudonyms are the same with the same key
KEY = secrets.token_hex(32)
EXTERNAL = [table.external for table in TABLES if table.external]


#: kills of a run at most, until one of them meets a step at work
_KILLS = 5

#: when dbt was started, as views have it
_STARTED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}")


def load_anew() -> None:
    """The graph of the forkserver is a laptop's."""
    run._definitions.cache_clear()


def land(home: Home) -> int:
    """The same files for either; rows that were generated."""
    write = home.platform.landing.write
    write(f"ecommerce/ingestion_date={LAST}/long.csv", LONG)
    return sum(generator(name)(write, first=FIRST, last=LAST, rows_per_day=300, faults=True).rows for name in DOMAINS)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every table of a laptop that had the same files, as Redshift shows it; and what its pages read."""
    with pytest.MonkeyPatch.context() as patch:
        local = use_home(tmp_path_factory.mktemp("laptop") / "home", patch, CLICKSTREAM_PII_KEY=KEY)
        assert land(local) > 1200
        local.run(str(FIRST), domain="clickstream")
        for name in DOMAINS:
            local.run(str(FIRST), str(LAST), domain=name)
        tables = local.tables()
        assert all(len(local.query(sql)) > 500 for sql in QUERIES)
        shown = pages(local)
    for name in EXTERNAL:  # of a text in the lake it reads 16,384 characters
        tables[name] = [tuple(v[:16_384] if isinstance(v, str) else v for v in row) for row in tables[name]]
    payloads = [row[4] for row in tables["ops.quarantine"]]
    assert sum(len(payload.encode()) > 16_000 for payload in payloads) == 4
    return tables, shown


@pytest.fixture(scope="module")
def wanted(laptop: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Every table of a laptop that had the same files, as Redshift shows it."""
    return laptop[0]


@pytest.fixture(scope="module")
def environment(s3: S3Server, aws_endpoint: str) -> Iterator[pytest.MonkeyPatch]:
    """The environment in which every client finds S3 and Glue, for as long as the module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (s3.environment | {"AWS_ENDPOINT_URL_GLUE": aws_endpoint}).items():
            patch.setenv(name, value)
        yield patch


@contextlib.contextmanager
def on_aws(folder: Path, s3: S3Server, twin: Twin, patch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose landing, lake, catalog and warehouse are new ones on AWS."""
    empty_glue()
    root = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
    with twin.fresh_database() as name:
        settings = twin.environment | {
            "REDSHIFT_DATABASE": name,
            "CLICKSTREAM_ENVIRONMENT": "aws",
            "CLICKSTREAM_PII_KEY": KEY,
            "CLICKSTREAM_LANDING_URI": f"{root}/landing",
            "CLICKSTREAM_LAKE_URI": f"{root}/lake",
        }
        yield use_home(folder / "aws", patch, **settings)


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory, environment: pytest.MonkeyPatch, s3: S3Server, twin: Twin, wanted: Any
) -> Iterator[Home]:
    """Two runs of each domain: of a day, and of that day again with the next one, which has late events.

    Of GA4 one: nothing of a date is made from another.
    """
    with on_aws(tmp_path_factory.mktemp("ran"), s3, twin, environment) as home:
        land(home)
        for name in DOMAINS:
            if name != "ga4":
                start(home, FIRST, FIRST, name).succeed()
            start(home, FIRST, LAST, name).succeed()
        yield home


@pytest.fixture
def aws(tmp_path: Path, environment: pytest.MonkeyPatch, s3: S3Server, twin: Twin, wanted: Any) -> Iterator[Home]:
    with on_aws(tmp_path, s3, twin, environment) as home:
        yield home


def start(home: Home, first: date, last: date, domain: str = "ecommerce") -> forked.Command:
    return forked.start(home, "run", domain, "--from", str(first), "--to", str(last), first=load_anew)


def tables(home: Home) -> dict[str, Any]:
    """Those of the lake and the materialized views too, which none of the views has that list the others."""
    there = {table.external for table in TABLES if table.external and home.platform.lake.version(table) is not None}
    views = {f"{schema}.{name}" for schema, name in home.query("select schema_name, name from svv_mv_info")}
    return home.tables() | {name: home.table(name) for name in there | views}


def pages(home: Home) -> dict[str, Any]:
    """What the pages of the dashboards read, by page and dataset, less the moments at which something was made."""
    found = {}
    for entry in dashboards.PAGES:
        for data in read.read(home.platform, dashboards.load(entry.name)):
            columns = data.dataset.columns
            keep = [place for place, column in enumerate(columns) if column.kind not in ("moment", "number")]
            rows = sorted(([row[place] for place in keep] for row in data.rows), key=repr)
            found[entry.name, data.dataset.name] = (data.missing, data.cut, rows)
    return found


def test_every_page_shows_on_redshift_what_it_shows_on_a_laptop(ran: Home, laptop: Any) -> None:
    shown = laptop[1]
    # No history is asked here, and two days are no two weeks.
    empty = {("health", "runs"), ("health", "steps"), ("journey", "cohorts")}
    assert {key for key, (_, _, rows) in shown.items() if not rows} == empty
    found = pages(ran)
    assert [key for key in shown if found[key] != shown[key]] == []


def test_every_table_of_the_warehouse_equals_that_of_a_laptop(ran: Home, wanted: dict[str, Any]) -> None:
    """Landing and lake on S3, the Glue catalog, Redshift; nothing but settings is different."""
    in_catalog = [
        f"{name}.{table['Name']}"
        for name in LAKE
        for table in boto3.client("glue").get_tables(DatabaseName=name)["TableList"]
    ]
    # Change data are not among the domains that are run here: cdc/test_runs.py compares theirs.
    assert sorted(in_catalog) == sorted(table.lake for table in TABLES if table.domain != "cdc")
    assert not [path for path in ran.path.rglob("*") if path.name in ("catalog.db", "warehouse.duckdb", "lake")]
    found = tables(ran)
    assert [name for name in wanted if found.get(name) != wanted[name]] == []
    assert found == wanted


def test_queries_of_ga4_run_as_they_are_written(ran: Home) -> None:
    for sql in QUERIES:
        assert len(ran.query(sql)) > 500, sql


def of_ecommerce(tables: dict[str, Any]) -> dict[str, Any]:
    """What one domain has of them."""
    others = re.compile("clickstream|analytics|ga4|sales")
    return {
        name: [row for row in rows if not (name.startswith("ops.") and others.search(str(row)))]
        for name, rows in tables.items()
        if not others.search(name)
    }


def models(home: Home, folder: str) -> dict[str, str]:
    """The SQL of each model, as dbt left it in one of its folders; ``analytics`` is the database."""
    found = sorted((home.settings.dbt_state / folder / "clickstream" / "models").rglob("*.sql"))
    return {
        path.stem: _STARTED.sub("2026-01-01", path.read_text()).replace(
            home.variables["REDSHIFT_DATABASE"], "analytics"
        )
        for path in found
        if path.parent.suffix != ".yml"  # tests of models
    }


def test_the_sql_is_redshifts_and_as_it_was_read_last(ran: Home, pytestconfig: pytest.Config) -> None:
    """Whoever changes a model or a macro sees here what Redshift gets; pytest --write-golden writes it anew."""
    for sql in models(ran, "run").values():
        if re.fullmatch(r'\s*refresh materialized view "analytics"\."sales"\."mv_\w+"\s*', sql):
            continue  # which sqlglot does not know
        statements = [type(one).__name__ for one in sqlglot.parse(sql, read="redshift") if one]
        assert statements and set(statements) <= {"Create", "Insert"}, sql  # what sqlglot cannot read is a "Command"
    pretty = [
        f"-- {name}\n{sqlglot.transpile(sql, read='redshift', write='redshift', pretty=True, comments=False)[0]};\n"
        for name, sql in sorted(models(ran, "compiled").items())
    ]
    assert len(pretty) == 68
    text = "\n".join(pretty)
    if pytestconfig.getoption("--write-golden"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_last_materialization_of_a_table_tells_its_rows(ran: Home) -> None:
    """As Redshift counts them; the lists of work have been emptied since."""
    nodes = json.loads(dbt.manifest(ran.settings).read_text())["nodes"].values()
    made = [node for node in nodes if node["resource_type"] == "model" and node["config"]["materialized"] != "view"]
    found: dict[str, int] = {}
    with instance(ran.settings) as storage:
        for node in made:
            name = dbt.relation(node)
            event = storage.get_latest_materialization_event(dg.AssetKey(name.split(".")))
            assert event is not None and event.asset_materialization is not None, name
            found[name] = event.asset_materialization.metadata["dagster/row_count"].value
    for name in ("sales.sales_fact", "sales.mv_daily_sales", "clickstream.daily_metrics", "ecommerce.users"):
        assert found[name] == ran.one(f"select count(*) from {name}")[0] > 0, name


def test_the_price_of_a_backfill_is_in_dollars_and_by_recorded_runs(ran: Home) -> None:
    tag = price.estimate(ran.platform, [domains.domain("ecommerce"), domains.domain("sales")], day_range(FIRST, LAST))
    for one in tag.domains:
        assert one.runs >= 1 and one.files_to_read == 0 and one.bytes > 0 and one.lake_bytes > 0
        assert one.dollars is not None and one.dollars.estimate > 60 / 3600 * 8 * 0.375


def test_no_secret_is_in_what_runs_leave_behind(ran: Home, s3: S3Server) -> None:
    """Logs, Dagster's storage with its run config, dbt's files and manifests, the catalog, the lake's metadata."""
    secrets = [secret.encode() for secret in (s3.secret, s3.key, ran.variables["REDSHIFT_PASSWORD"])]
    left = {path: path.read_bytes() for path in ran.path.parent.rglob("*") if path.is_file()}
    left |= {path: path.read_bytes() for path in (PROJECT / "target").rglob("*") if path.is_file()}
    lake = ran.platform.lake.files
    objects = [info.path for folder in LAKE for info in lake.files(folder, hidden=True)]
    left |= {Path(path): lake.read(path) or b"" for path in objects}
    assert any(b"ecommerce" in content for content in left.values()) and len(objects) > 20
    assert [path for path, content in left.items() if any(secret in content for secret in secrets)] == []


def test_a_killed_run_holds_up_nobody_and_two_at_once_end_right(aws: Home, wanted: dict[str, Any]) -> None:
    """The killed one has the pool of the domain; of the two that follow one step at a time has it."""
    land(aws)
    with instance(aws.settings) as storage:
        slots = storage.event_log_storage
        for _ in range(_KILLS):
            killed = start(aws, FIRST, LAST)
            end = time.monotonic() + 120
            while "ecommerce_raw.events_raw" not in killed.printed() or not slots.get_concurrency_run_ids():
                assert killed.process.is_alive() and time.monotonic() < end, killed.printed()
                time.sleep(0.02)
            os.killpg(int(killed.process.pid or 0), signal.SIGKILL)
            killed.process.join()
            if slots.get_concurrency_run_ids():
                break  # otherwise its step ended between the look and the kill
        assert slots.get_concurrency_run_ids(), "it was killed too late each time"
        # Of a command one run or two: both that it makes have the pool, and it may have been killed between them.
        before = storage.get_runs()
        left = sum(run.status.name != "SUCCESS" for run in before)

    both = [start(aws, FIRST, FIRST), start(aws, FIRST, LAST)]
    for command in both:
        command.succeed()
    assert of_ecommerce(tables(aws)) == of_ecommerce(wanted)
    with instance(aws.settings) as storage:
        assert not storage.event_log_storage.get_concurrency_run_ids()
        ended = Counter(run.status.name for run in storage.get_runs())
    assert ended == {"SUCCESS": len(before) - left + 4, "FAILURE": left}
