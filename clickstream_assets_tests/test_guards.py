"""What the Dagster UI shows of a run: metadata per partition, check results, and a table's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import ECOMMERCE_CLEANED
from clickstream_assets.storage import duckdb_warehouse
from clickstream_assets_tests.conftest import Home, use_home

CLEANED_NAME = ECOMMERCE_CLEANED.name
CLEANED = dg.AssetKey(ECOMMERCE_CLEANED.key)


@dataclass(frozen=True)
class Story:
    """A home after three runs of some days, of which one failed in the second.

    ``counts``, ``refused``: what the first and the second run were. ``newest``: partitions that the second had made.
    """

    home: Home
    counts: Mapping[str, Mapping[str, dg.MetadataValue]]
    refused: str
    failed: dg.AssetCheckEvaluation
    newest: set[str | None]
    cleaned: Mapping[str, tuple[int, ...]]
    rows: Sequence[tuple[Any, ...]]
    repaired: Sequence[date]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("guards") / "home", patch)
        good, bad = "1,1,2024-03-01 10:00:00,product_view,p1,,", ",1,2024-03-01 10:00:00,page_view,,,"
        home.land("2024-03-01", "a.csv", good, good, "1,1,2024-03-01 10:00:00,purchase,p1,free,")
        home.land("2024-03-02", "a.csv", good)
        home.run("2024-03-01", "2024-03-03")
        with run.instance(home.settings) as storage:
            made = storage.fetch_materializations(CLEANED, limit=10).records

        for day in ("2024-03-01", "2024-03-03"):
            home.land(day, "b.csv", f"2,1,{day} 11:00:00,page_view,,,")
        home.land("2024-03-02", "b.csv", *[bad] * 1000)
        with pytest.raises(RunFailed) as refused:
            home.run("2024-03-01", "2024-03-04")
        cleaned = {day: home.ledger(CLEANED_NAME, day)[:3] for day in ("2024-03-01", "2024-03-02", "2024-03-03")}
        rows = home.query(
            "select ingestion_date::varchar, count(*) from ecommerce.events_cleaned group by 1 order by 1"
        )
        key = dg.AssetCheckKey(CLEANED, "rejected_share")
        with run.instance(home.settings) as storage:
            newest = storage.fetch_materializations(CLEANED, limit=3).records
            failed = storage.event_log_storage.get_asset_check_execution_history(key, limit=1)[0].event

        home.land("2024-03-02", "b.csv", "2,1,2024-03-02 11:00:00,page_view,,,")
        repaired = home.run("2024-03-02").repaired
    return Story(
        home,
        {event.partition_key: event.asset_materialization.metadata for event in made},
        str(refused.value),
        failed.dagster_event.asset_check_evaluation_data,
        {record.partition_key for record in newest},
        cleaned,
        rows,
        repaired,
    )


def test_each_partition_of_a_range_has_its_own_counts(story: Story) -> None:
    counts = {
        day: tuple(metadata[name].value for name in ("rows_in", "rows", "rejected", "dagster/partition_row_count"))
        for day, metadata in story.counts.items()
    }
    assert counts == {"2024-03-01": (3, 2, 1, 2), "2024-03-02": (1, 1, 0, 1), "2024-03-03": (0, 0, 0, 0)}
    first = story.counts["2024-03-01"]
    assert first["rejected_by_rule"].value == {"bad_amount": 1}
    assert first["nulls"].value["amount"] == 3
    assert first["nulls"].value["product_id"] == 0
    assert "| event_id | user_id |" in first["preview"].value
    assert "| 2024-03-01 | 3 | 2 | 1 |" in first["partitions"].value


def test_a_failed_guard_is_a_failed_check_that_says_where_the_first_rejected_records_are(story: Story) -> None:
    assert not story.failed.passed
    assert story.failed.blocking
    assert story.failed.metadata["rejected_by_rule"].value == {"bad_amount": 1, "missing_user_id": 1000}
    place = "| missing_user_id | ecommerce/ingestion_date=2024-03-02/b.csv | 2 |"
    assert place in story.failed.metadata["first_rejected"].value


def test_the_ui_knows_the_columns_of_registered_tables() -> None:
    schema = defs().resolve_asset_graph().get(CLEANED).metadata["dagster/column_schema"]
    assert [(c.name, c.type) for c in schema.columns] == [(c.name, c.type) for c in ECOMMERCE_CLEANED.columns]


def test_a_day_that_fails_costs_itself_alone_and_can_be_run_again_alone(story: Story) -> None:
    assert "events_cleaned was not published for 2024-03-02: rejected_share: more than" in story.refused
    assert story.cleaned == {"2024-03-01": (4, 3, 1), "2024-03-02": (1, 1, 0), "2024-03-03": (1, 1, 0)}
    assert story.rows == [("2024-03-01", 3), ("2024-03-02", 1), ("2024-03-03", 1)]
    assert story.newest == {"2024-03-01", "2024-03-03", "2024-03-04"}
    assert [str(day) for day in story.repaired] == ["2024-03-01", "2024-03-03"]
    assert story.home.one("select count(*), count(distinct event_id) from ecommerce.events") == (6, 6)


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
