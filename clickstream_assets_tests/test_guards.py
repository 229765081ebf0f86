"""What the Dagster UI shows of a run: metadata per partition, check results, and a table's columns."""

from __future__ import annotations

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import ECOMMERCE_CLEANED
from clickstream_assets.storage import duckdb_warehouse
from clickstream_assets_tests.conftest import Home

CLEANED_NAME = ECOMMERCE_CLEANED.name
CLEANED = dg.AssetKey(ECOMMERCE_CLEANED.key)


def test_each_partition_of_a_range_has_its_own_counts(home: Home) -> None:
    good, bad = "1,1,2024-03-01 10:00:00,product_view,p1,,", ",1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", good, good, bad)
    home.land("2024-03-02", "a.csv", good)
    home.run("2024-03-01", "2024-03-03")
    with run.instance(home.settings) as storage:
        events = storage.fetch_materializations(CLEANED, limit=10).records
    shown = {event.partition_key: event.asset_materialization.metadata for event in events}
    counts = {
        day: tuple(metadata[name].value for name in ("rows_in", "rows", "rejected", "dagster/partition_row_count"))
        for day, metadata in shown.items()
    }
    assert counts == {"2024-03-01": (3, 2, 1, 2), "2024-03-02": (1, 1, 0, 1), "2024-03-03": (0, 0, 0, 0)}
    first = shown["2024-03-01"]
    assert first["rejected_by_rule"].value == {"missing_user_id": 1}
    assert first["nulls"].value["amount"] == 3
    assert first["nulls"].value["product_id"] == 0
    assert "| event_id | user_id |" in first["preview"].value
    assert "| 2024-03-01 | 3 | 2 | 1 |" in first["partitions"].value


def test_a_failed_guard_is_a_failed_check_that_says_where_the_first_rejected_records_are(home: Home) -> None:
    home.land("2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1000)
    with pytest.raises(RunFailed):
        home.run("2024-03-01")
    key = dg.AssetCheckKey(CLEANED, "rejected_share")
    with run.instance(home.settings) as storage:
        record = storage.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
        assert storage.fetch_materializations(CLEANED, limit=1).records == []
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    assert not evaluation.passed
    assert evaluation.blocking
    assert evaluation.metadata["rejected_by_rule"].value == {"missing_user_id": 1000}
    place = "| missing_user_id | ecommerce/ingestion_date=2024-03-01/a.csv | 2 |"
    assert place in evaluation.metadata["first_rejected"].value


def test_the_ui_knows_the_columns_of_registered_tables() -> None:
    schema = defs().resolve_asset_graph().get(CLEANED).metadata["dagster/column_schema"]
    assert [(c.name, c.type) for c in schema.columns] == [(c.name, c.type) for c in ECOMMERCE_CLEANED.columns]


def test_a_day_that_fails_costs_itself_alone_and_can_be_run_again_alone(home: Home) -> None:
    for day in ("2024-03-01", "2024-03-02", "2024-03-03"):
        home.land(day, "a.csv", f"1,1,{day} 10:00:00,page_view,,,")
    home.run("2024-03-01", "2024-03-03")
    for day in ("2024-03-01", "2024-03-03"):
        home.land(day, "b.csv", f"2,1,{day} 11:00:00,page_view,,,")
    home.land("2024-03-02", "b.csv", *[",1,2024-03-02 10:00:00,page_view,,,"] * 1000)

    with pytest.raises(RunFailed, match=r"events_cleaned was not published for 2024-03-02: rejected_share: more than"):
        home.run("2024-03-01", "2024-03-04")
    cleaned = {day: home.ledger(CLEANED_NAME, day)[:3] for day in ("2024-03-01", "2024-03-02", "2024-03-03")}
    assert cleaned == {"2024-03-01": (2, 2, 0), "2024-03-02": (1, 1, 0), "2024-03-03": (2, 2, 0)}
    assert home.query(
        "select ingestion_date::varchar, count(*) from ecommerce.events_cleaned group by 1 order by 1"
    ) == [
        ("2024-03-01", 2),
        ("2024-03-02", 1),
        ("2024-03-03", 2),
    ]
    with run.instance(home.settings) as storage:
        newest = storage.fetch_materializations(CLEANED, limit=3).records
    assert {record.partition_key for record in newest} == {"2024-03-01", "2024-03-03", "2024-03-04"}

    home.land("2024-03-02", "b.csv", "2,1,2024-03-02 11:00:00,page_view,,,")
    assert [str(day) for day in home.run("2024-03-02").repaired] == ["2024-03-01", "2024-03-03"]
    assert home.one("select count(*), count(distinct event_id) from ecommerce.events") == (6, 6)


def test_a_day_that_fails_in_raw_does_not_keep_the_others_from_being_made(home: Home) -> None:
    home.land("2024-03-01", "a.csv", *["1,1"] * 1000)
    home.land("2024-03-02", "a.csv", "1,1,2024-03-02 10:00:00,page_view,,,")
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"events_raw was not published for 2024-03-01: .*The other days"):
            home.run("2024-03-01", "2024-03-02")
        assert home.query("select ingestion_date::varchar from ecommerce.events") == [("2024-03-02",)]
        assert home.ledger("ecommerce.events", "2024-03-02") == (1, 1, 0, 0, 0, 0)
        home.land("2024-03-02", "b.csv", "1,1,2024-03-02 10:00:00,page_view,,,")  # a copy, so that raw is written anew


def test_days_between_which_rows_move_are_published_together_or_not_at_all(home: Home) -> None:
    shared = "1,1,2024-03-05 10:00:00,page_view,,,"
    home.land("2024-03-05", "b.csv", shared)
    home.run("2024-03-05")
    home.land("2024-03-01", "a.csv", shared)  # takes over from the copy of the fifth
    home.land("2024-03-01", "ragged.csv", *["1,1"] * 1000)
    home.land("2024-03-02", "c.csv", "2,1,2024-03-02 10:00:00,page_view,,,")
    with pytest.raises(RunFailed, match=r"events_raw was not published for 2024-03-01, 2024-03-05: rejected_share"):
        home.run("2024-03-01", "2024-03-02")
    where = "select ingestion_date::varchar, source_file from spectrum_ecommerce.events_raw order by 1"
    assert home.query(where) == [
        ("2024-03-02", "ecommerce/ingestion_date=2024-03-02/c.csv"),
        ("2024-03-05", "ecommerce/ingestion_date=2024-03-05/b.csv"),
    ]
    assert home.query("select path, status from ops.landing_files order by 1") == [
        ("ecommerce/ingestion_date=2024-03-02/c.csv", "loaded"),
        ("ecommerce/ingestion_date=2024-03-05/b.csv", "loaded"),
    ]
    home.landing("2024-03-01").joinpath("ragged.csv").unlink()
    home.run("2024-03-01", "2024-03-02")
    assert home.query(where) == [
        ("2024-03-01", "ecommerce/ingestion_date=2024-03-01/a.csv"),
        ("2024-03-02", "ecommerce/ingestion_date=2024-03-02/c.csv"),
    ]
    assert home.one("select count(*) from ecommerce.events") == (2,)


def test_a_warehouse_that_does_not_show_the_published_rows_stops_the_step(home: Home, monkeypatch) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,page_view,,,")
    select = duckdb_warehouse._select
    monkeypatch.setattr(duckdb_warehouse, "_select", lambda snapshot: select(snapshot) + " limit 0")
    with pytest.raises(
        RunFailed, match=r"ecommerce.events_cleaned does not show the rows .*2024-03-01: 0 instead of 1"
    ):
        home.run("2024-03-01")
