"""The same graph on AWS: the servers are real and on this machine, and every table is what a laptop has."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import date
from typing import Any

import boto3
import pytest

from clickstream_assets import run
from clickstream_assets.generate import generator
from clickstream_assets.run import instance
from clickstream_assets.schemas import TABLES
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import HEADER, Home, use_home
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


EXTERNAL = [table.external for table in TABLES if table.external]


def load_anew() -> None:
    """The graph of the forkserver is a laptop's."""
    run._definitions.cache_clear()


def land(home: Home) -> int:
    """The same files for either; rows that were generated."""
    write = home.platform.landing.write
    write(f"ecommerce/ingestion_date={LAST}/long.csv", LONG)
    return generator("ecommerce")(write, first=FIRST, last=LAST, rows_per_day=300, faults=True).rows


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every table of a laptop that had the same files, as Redshift shows it."""
    with pytest.MonkeyPatch.context() as patch:
        local = use_home(tmp_path_factory.mktemp("laptop") / "home", patch)
        assert land(local) > 600
        local.run(str(FIRST), str(LAST))
        tables = local.tables()
    for name in EXTERNAL:  # of a text in the lake it reads 16,384 characters
        tables[name] = [tuple(v[:16_384] if isinstance(v, str) else v for v in row) for row in tables[name]]
    payloads = [row[4] for row in tables["ops.quarantine"]]
    assert sum(len(payload.encode()) > 16_000 for payload in payloads) == 4
    return tables


@pytest.fixture
def aws(home: Home, on_s3: S3Server, s3_root: str, on_glue: None, on_redshift: dict[str, str], monkeypatch) -> Home:
    settings = on_redshift | {
        "CLICKSTREAM_ENVIRONMENT": "aws",
        "CLICKSTREAM_LANDING_URI": f"{s3_root}/landing",
        "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake",
    }
    return use_home(home.path.with_name("aws"), monkeypatch, **settings)


def start(home: Home, first: date, last: date) -> forked.Command:
    return forked.start(home, "run", "ecommerce", "--from", str(first), "--to", str(last), first=load_anew)


def tables(home: Home) -> dict[str, Any]:
    """Those of the lake too, which none of the views has that list the others."""
    return home.tables() | {name: home.table(name) for name in EXTERNAL}


def test_every_table_of_the_warehouse_equals_that_of_a_laptop(aws: Home, wanted: dict[str, Any]) -> None:
    """Landing and lake on S3, the Glue catalog, Redshift; nothing but settings is different."""
    land(aws)
    start(aws, FIRST, FIRST).succeed()
    start(aws, FIRST, LAST).succeed()
    in_catalog = [
        f"{name}.{table['Name']}"
        for name in ("ecommerce_raw", "ecommerce_cleaned", "ops")
        for table in boto3.client("glue").get_tables(DatabaseName=name)["TableList"]
    ]
    assert sorted(in_catalog) == sorted(table.lake for table in TABLES)
    assert not [path for path in aws.path.rglob("*") if path.name in ("catalog.db", "warehouse.duckdb", "lake")]
    assert tables(aws) == wanted


def test_a_killed_run_holds_up_nobody_and_two_at_once_end_right(aws: Home, wanted: dict[str, Any]) -> None:
    """The killed one has the pool of the domain; of the two that follow one step at a time has it."""
    land(aws)
    killed = start(aws, FIRST, LAST)
    with instance(aws.settings) as storage:
        slots = storage.event_log_storage
        end = time.monotonic() + 120
        while "ecommerce_raw.events_raw" not in killed.printed() or not slots.get_concurrency_run_ids():
            assert killed.process.is_alive() and time.monotonic() < end, killed.printed()
            time.sleep(0.02)
        os.killpg(int(killed.process.pid or 0), signal.SIGKILL)
        killed.process.join()
        assert slots.get_concurrency_run_ids(), "it was killed too late"

    both = [start(aws, FIRST, FIRST), start(aws, FIRST, LAST)]
    for command in both:
        command.succeed()
    assert tables(aws) == wanted
    with instance(aws.settings) as storage:
        assert not storage.event_log_storage.get_concurrency_run_ids()
        ended = Counter(run.status.name for run in storage.get_runs())
    assert ended == {"SUCCESS": 5, "FAILURE": 1}
