"""The lake from the warehouse: the same queries, over views of DuckDB and external schemas of Redshift."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.errors import PublishError
from clickstream_assets.schemas import DATE, INTEGER, TEXT, Column, Table
from clickstream_assets.storage.staged import Staged, StagedFile
from clickstream_assets_tests.conftest import Home

#: as it is named for analysts, whatever domain brings it
PAGES = Table(
    name="analytics_raw.ga_events_raw",
    domain="ga4",
    lake="analytics_raw.ga_events_raw",
    external="spectrum_analytics.ga_events_raw",
    partition=("date",),
    description="One row per page and day.",
    columns=(
        Column("page_path", TEXT, "The page."),
        Column("sessions", INTEGER, "Its sessions."),
        Column("date", DATE, "Partition."),
    ),
)
BEFORE, FIRST, SECOND = date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 2)


def publish(home: Home, day: date, sessions: int) -> None:
    lake = home.platform.lake
    path = lake.new_path(PAGES, day)
    row = {"page_path": "/shop", "sessions": sessions, "date": day}
    with lake.files.create(path) as stream:
        pq.write_table(pa.Table.from_pylist([row], PAGES.arrow), stream, store_schema=False)
    lake.publish(Staged(PAGES, [day], [StagedFile(path, 1, day)], [], [], "r"))


def show(home: Home) -> None:
    platform = home.platform
    platform.warehouse.transact("test", lambda t: platform.warehouse.show(t, platform.lake, PAGES))


def test_the_same_query_runs_on_either_and_sees_what_was_published(either: Home) -> None:
    for day, sessions in ((BEFORE, 1), (FIRST, 2), (SECOND, 3)):
        publish(either, day, sessions)
    show(either)
    everything = "SELECT * FROM spectrum_analytics.ga_events_raw WHERE date >= '2024-01-01' ORDER BY date"
    assert either.query(everything) == [("/shop", 2, FIRST), ("/shop", 3, SECOND)]
    columns = "SELECT date, page_path, sessions FROM spectrum_analytics.ga_events_raw WHERE date >= '2024-01-01'"
    assert sorted(either.query(columns)) == [(FIRST, "/shop", 2), (SECOND, "/shop", 3)]
    publish(either, SECOND, 7)
    show(either)
    assert either.query(everything) == [("/shop", 2, FIRST), ("/shop", 7, SECOND)]


@pytest.mark.parametrize("either", ["AWS"], indirect=True)
def test_redshift_has_one_external_schema_over_the_database_of_the_catalog(either: Home) -> None:
    publish(either, FIRST, 2)
    for _ in range(2):
        show(either)
    found = either.query("select schemaname, databasename, esoptions from svv_external_schemas")
    assert [(schema, database) for schema, database, _ in found] == [("spectrum_analytics", "analytics_raw")]
    assert either.variables["REDSHIFT_COPY_ROLE_ARN"] in found[0][2] and "KEY" not in found[0][2].upper()
    publish(either, SECOND, 3)
    assert either.one("select sum(sessions) from spectrum_analytics.ga_events_raw") == (5,), (
        "without a word to Redshift"
    )


@pytest.mark.parametrize("either", ["AWS"], indirect=True)
def test_an_external_schema_over_another_database_is_named_and_left_alone(either: Home) -> None:
    publish(either, FIRST, 2)
    warehouse, role = either.platform.warehouse, either.variables["REDSHIFT_COPY_ROLE_ARN"]
    other = f"create external schema spectrum_analytics from data catalog database 'old' iam_role '{role}'"
    warehouse.transact("test", lambda transaction: transaction.run(other))
    with pytest.raises(PublishError, match="spectrum_analytics on Redshift shows the database old, not analytics_raw"):
        show(either)
