"""The same graph on AWS: the servers are real and on this machine, and every table is what a laptop has."""

from __future__ import annotations

from datetime import date

import boto3
import pytest

from clickstream_assets import run
from clickstream_assets.generate import generator
from clickstream_assets.schemas import TABLES
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.servers import S3Server

FIRST, LAST = date(2024, 3, 1), date(2024, 3, 2)


def load_anew() -> None:
    """The graph of the forkserver is a laptop's."""
    run._definitions.cache_clear()


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
    made = generator("ecommerce")(aws.platform.landing.write, first=FIRST, last=LAST, rows_per_day=300, faults=True)
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
    again = generator("ecommerce")(local.platform.landing.write, first=FIRST, last=LAST, rows_per_day=300, faults=True)
    assert again.rows == made.rows > 600
    local.run(str(FIRST), str(LAST))
    wanted = local.tables()
    del wanted["spectrum_ecommerce.events_raw"]  # a view over the lake's files; Redshift has the catalog for that
    assert found == wanted
