"""What the Dagster UI shows of a run: metadata per partition, check results, and a table's columns."""

from __future__ import annotations

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import ECOMMERCE_CLEANED
from clickstream_assets_tests.conftest import Home

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
