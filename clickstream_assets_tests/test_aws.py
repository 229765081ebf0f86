"""The same graph on AWS: the servers are real and on this machine, and every table is what a laptop has."""

from __future__ import annotations

from datetime import date

import boto3
import pytest

from clickstream_assets import run
from clickstream_assets.generate import generator
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


def load_anew() -> None:
    """The graph of the forkserver is a laptop's."""
    run._definitions.cache_clear()


def land(home: Home) -> int:
    """The same files for either; rows that were generated."""
    write = home.platform.landing.write
    write(f"ecommerce/ingestion_date={LAST}/long.csv", LONG)
    return generator("ecommerce")(write, first=FIRST, last=LAST, rows_per_day=300, faults=True).rows


@pytest.fixture
def aws(home: Home, on_s3: S3Server, s3_root: str, on_glue: None, on_redshift: dict[str, str], monkeypatch) -> Home:
    settings = on_redshift | {
        "CLICKSTREAM_ENVIRONMENT": "aws",
        "CLICKSTREAM_LANDING_URI": f"{s3_root}/landing",
        "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake",
    }
    return use_home(home.path.with_name("aws"), monkeypatch, **settings)


def test_every_table_of_the_warehouse_equals_that_of_a_laptop(home: Home, aws: Home, monkeypatch) -> None:
    """Landing and lake on S3, the Glue catalog, Redshift; nothing but settings is different."""
    made = land(aws)
    for days in (("--date", str(FIRST)), ("--from", str(FIRST), "--to", str(LAST))):
        forked.start(aws, "run", "ecommerce", *days, first=load_anew).succeed()
    in_catalog = [
        f"{name}.{table['Name']}"
        for name in ("ecommerce_raw", "ecommerce_cleaned", "ops")
        for table in boto3.client("glue").get_tables(DatabaseName=name)["TableList"]
    ]
    assert sorted(in_catalog) == sorted(table.lake for table in TABLES)
    assert not [path for path in aws.path.rglob("*") if path.name in ("catalog.db", "warehouse.duckdb", "lake")]
    found = aws.tables()

    local = use_home(home.path, monkeypatch)
    assert land(local) == made > 600
    local.run(str(FIRST), str(LAST))
    wanted = local.tables()
    del wanted["spectrum_ecommerce.events_raw"]  # a view over the lake's files; Redshift has the catalog for that
    assert found == wanted
    payloads = [row[4] for row in wanted["ops.quarantine"]]
    assert sum(len(payload) > 16_000 for payload in payloads) == 4
