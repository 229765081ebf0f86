"""The saved queries on Athena, and in the warehouse: the same statements, the same rows."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from clickstream_assets.dbt import PROJECT
from clickstream_assets.generate import generator
from clickstream_assets.schemas import BOOLEAN, CLICKSTREAM_CLEANED, DATE, INTEGER, MONEY, REVENUE, TEXT, TIMESTAMP
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.events import event, land, load

QUERIES = sorted((PROJECT.parent / "queries").glob("clickstream_*.sql"))

#: an account of its own on MiniStack, which goes by the key
ACCOUNT = "222222222222"

_TYPES = {TEXT: "string", INTEGER: "bigint", DATE: "date", TIMESTAMP: "timestamp", BOOLEAN: "boolean",
          MONEY: "decimal(12,2)", REVENUE: "decimal(18,2)"}  # fmt: skip


class Athena:
    """A database with the published files of a lake's table, as Athena sees them by the Glue catalog."""

    def __init__(self, endpoint: str, home: Home):
        def client(name: str) -> Any:
            keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "any"}
            return boto3.client(name, endpoint_url=endpoint, region_name="us-east-1", **keys)

        self._athena, s3, glue = client("athena"), client("s3"), client("glue")
        s3.create_bucket(Bucket="lake")
        s3.create_bucket(Bucket="results")
        lake = home.platform.lake
        for file in lake.snapshot(CLICKSTREAM_CLEANED).files:
            path = lake.files.relative(file.uri)
            with lake.files.open(path) as source:
                s3.put_object(Bucket="lake", Key=path, Body=source.read())
        database, _, name = CLICKSTREAM_CLEANED.lake.partition(".")
        columns = [{"Name": c.name, "Type": _TYPES[c.type]} for c in CLICKSTREAM_CLEANED.columns]
        glue.create_database(DatabaseInput={"Name": database})
        glue.create_table(
            DatabaseName=database,
            TableInput={
                "Name": name,
                "Parameters": {"classification": "parquet"},
                "StorageDescriptor": {"Location": f"s3://lake/{lake.folder(CLICKSTREAM_CLEANED)}", "Columns": columns},
            },
        )

    def query(self, sql: str) -> list[list[str | None]]:
        """The rows, as text."""
        started = self._athena.start_query_execution(
            QueryString=sql, ResultConfiguration={"OutputLocation": "s3://results/"}
        )["QueryExecutionId"]
        end = time.monotonic() + 60
        while True:
            status = self._athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            assert time.monotonic() < end, status
            time.sleep(0.1)
        assert status["State"] == "SUCCEEDED", status
        _, *rows = self._athena.get_query_results(QueryExecutionId=started)["ResultSet"]["Rows"]
        return [[value.get("VarCharValue") for value in row["Data"]] for row in rows]


@pytest.fixture
def home_with_events(home: Home) -> Home:
    day = date(2026, 3, 1)
    generator("clickstream")(home.platform.landing.write, first=day, last=date(2026, 3, 2), rows_per_day=400)
    shop = {"event_type": "purchase", "price": 2.5, "quantity": 2, "currency": "EUR", "user_id": "u1"}
    steps = ("page_view", "product_view", "add_to_cart")
    path = [event(f"p{n}", f"2026-03-01T10:0{n}:00.5Z", event_type=name) for n, name in enumerate(steps)]
    land(home, str(day), "path", *path, event("bought", "2026-03-01T10:05:00Z", **shop))
    load(home.platform, [day, "2026-03-02"])
    return home


@pytest.fixture
def athena(aws_endpoint: str, home_with_events: Home) -> Athena:
    return Athena(aws_endpoint, home_with_events)


def test_athena_gives_what_the_warehouse_gives(athena: Athena, home_with_events: Home) -> None:
    for path in QUERIES:
        sql = path.read_text()
        wanted = home_with_events.query(sql)
        found = athena.query(sql)
        assert wanted and len(found) == len(wanted), path.name
        for texts, values in zip(found, wanted, strict=True):
            assert all(map(same, texts, values)), (path.name, texts, values)


def same(text: str | None, value: Any) -> bool:
    """Whether Athena's text is the value."""
    if value is None:
        return text in (None, "")
    if isinstance(value, datetime):
        return str(text).startswith(f"{value:%Y-%m-%d %H:%M:%S}")
    if isinstance(value, (int, float, Decimal)):
        return Decimal(str(text)) == Decimal(str(value))
    return text == str(value)


def test_there_is_a_query_for_each_question() -> None:
    names = {Path(path).stem.removeprefix("clickstream_") for path in QUERIES}
    assert names == {"events_by_type_and_day", "top_pages", "revenue_by_day", "funnel", "path_of_one_user"}
