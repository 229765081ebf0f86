"""The check that compares the catalog, the lake and the registry, on a laptop and with the Glue catalog."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets import run, schemas
from clickstream_assets.definitions import defs
from clickstream_assets.defs import drift as checks
from clickstream_assets.schemas import ECOMMERCE_CLEANED, INTEGER, QUARANTINE, TEXT, Column, Table
from clickstream_assets.storage.drift import drift
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.staged import Staged, StagedFile
from clickstream_assets_tests.conftest import Home, use_home

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


@pytest.fixture(params=["folder", "glue"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    further = {}
    if request.param == "glue":
        request.getfixturevalue("on_glue")
        further = {"CLICKSTREAM_CATALOG": "glue", "CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root")}
    home = use_home(tmp_path / "home", monkeypatch, **further)
    lake = home.platform.lake
    publish(lake, ECOMMERCE_CLEANED, MONDAY)
    return lake


def publish(lake: Lake, table: Table, day: date) -> str:
    path = lake.new_path(table, day)
    with lake.files.create(path) as stream:
        pq.write_table(pa.Table.from_pylist([{"ingestion_date": day}], table.arrow), stream, store_schema=False)
    lake.publish(Staged(table, [day], [StagedFile(path, 1, day)], [], [], "r"))
    return path


def iceberg(lake: Lake) -> Any:
    return lake._catalog.load_table(ECOMMERCE_CLEANED.lake)


def registered(*columns: Column, drop: str = "", **other: Any) -> Table:
    kept = [column for column in ECOMMERCE_CLEANED.columns if column.name != drop]
    return dataclasses.replace(ECOMMERCE_CLEANED, columns=(*kept, *columns), **other)


def test_a_table_that_is_as_registered_or_was_never_published_has_no_drift(lake) -> None:
    assert drift(lake, ECOMMERCE_CLEANED) == []
    assert drift(lake, QUARANTINE) == []


def test_files_that_were_written_before_a_column_was_appended_are_no_drift(lake) -> None:
    wider = registered(Column("channel", TEXT, "New."))
    publish(lake, wider, TUESDAY)
    assert drift(lake, wider) == []


def test_a_column_that_another_engine_added_removed_or_renamed_is_named(lake) -> None:
    with iceberg(lake).update_schema() as update:
        update.add_column("note", schemas.ECOMMERCE_RAW.iceberg.find_type("UserID"))
        update.rename_column("outcome", "result")
    found = drift(lake, ECOMMERCE_CLEANED)
    assert "the catalog has a column note, which is more than the registry has" in found
    assert "the catalog has a column result, which is more than the registry has" in found
    assert "the catalog has no column outcome; the registry has it" in found


def test_a_column_of_another_type_is_named_where_it_is(lake) -> None:
    other = registered(Column("outcome", INTEGER, "Another type."), drop="outcome")
    found = drift(lake, other)
    assert "the catalog has outcome as string; the registry has long" in found
    (file,) = lake.snapshot(ECOMMERCE_CLEANED).files
    assert f"{lake.files.relative(file.uri)} has outcome as string; the registry has int64" in found
    assert any("in another order" in difference for difference in found)


def test_other_partitions_are_named(lake) -> None:
    assert drift(lake, registered(partition=("event_type", "ingestion_date"))) == [
        "the catalog has it partitioned by ingestion_date, the registry by event_type, ingestion_date"
    ]


def test_a_table_that_the_catalog_has_lost_is_missed(lake) -> None:
    lake._catalog.drop_table(ECOMMERCE_CLEANED.lake)
    assert drift(lake, ECOMMERCE_CLEANED) == [
        "the catalog has no table ecommerce_cleaned.events_cleaned, but there are files in "
        "ecommerce_cleaned/events_cleaned/data"
    ]


@pytest.mark.parametrize("lake", ["glue"], indirect=True)
def test_what_somebody_edited_in_glues_console_is_named(lake) -> None:
    client = boto3.client("glue")
    table = client.get_table(DatabaseName="ecommerce_cleaned", Name="events_cleaned")["Table"]
    columns = table["StorageDescriptor"]["Columns"]
    columns[0]["Type"] = "int"
    del columns[-1]
    known = ("Name", "TableType", "Parameters", "StorageDescriptor")
    client.update_table(DatabaseName="ecommerce_cleaned", TableInput={name: table[name] for name in known})
    assert drift(lake, ECOMMERCE_CLEANED) == [
        "what Glue shows has event_id as int; Iceberg's metadata has string",
        "what Glue shows has no column ingestion_date; Iceberg's metadata has it",
    ]


def test_the_job_checks_every_table_and_a_domains_job_none(home: Home) -> None:
    publish(home.platform.lake, ECOMMERCE_CLEANED, MONDAY)
    with iceberg(home.platform.lake).update_schema() as update:
        update.rename_column("outcome", "result")
    graph = defs()
    with run.instance(home.settings) as storage:
        result = graph.resolve_job_def("schema_drift").execute_in_process(instance=storage)
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(found) == {table.lake.replace(".", "_") for table in schemas.TABLES}
    (failed,) = [check for check in found.values() if not check.passed]
    assert failed.check_name == "ecommerce_cleaned_events_cleaned" and not failed.blocking
    assert "no column outcome" in str(failed.description)
    assert not set(graph.resolve_job_def("ecommerce").asset_layer.executable_asset_keys) & {checks.CATALOG.key}
