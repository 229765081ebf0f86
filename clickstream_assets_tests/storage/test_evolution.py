"""Columns that are appended to a table that has rows: in the lake and in the warehouse, on a laptop and on AWS."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.errors import PublishError
from clickstream_assets.schemas import ECOMMERCE_CLEANED, MONEY, TEXT, TIMESTAMP, Column, Table
from clickstream_assets.storage.staged import Staged, StagedFile
from clickstream_assets_tests.conftest import Home

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def changed(*columns: Column, at: int | None = None, drop: str | None = None) -> Table:
    """The cleaned table with further columns, at its end or in its middle, and without one."""
    kept = [column for column in ECOMMERCE_CLEANED.columns if column.name != drop]
    place = len(kept) if at is None else at
    kept[place:place] = columns
    return dataclasses.replace(ECOMMERCE_CLEANED, columns=tuple(kept))


WIDER = changed(
    Column("channel", TEXT, "New."), Column("discount", MONEY, "New."), Column("seen_at", TIMESTAMP, "New.")
)


def publish(home: Home, table: Table, days: dict[date, Sequence[str]]) -> None:
    """A file per day with a row per user, in the lake and in the warehouse."""
    lake, warehouse, files = home.platform.lake, home.platform.warehouse, []
    for day, users in days.items():
        rows = [
            {"user_id": user, "amount": Decimal("1.50"), "ingestion_date": day, "channel": "web",
             "discount": Decimal("0.10"), "seen_at": NOW}
            for user in users
        ]  # fmt: skip
        path = lake.new_path(table, day)
        known = [{name: row[name] for name in table.arrow.names if name in row} for row in rows]
        if table.arrow.field("amount").type == pa.string():
            known = [row | {"amount": str(row["amount"])} for row in known]
        with lake.files.create(path) as stream:
            pq.write_table(pa.Table.from_pylist(known, table.arrow), stream, store_schema=False)
        files.append(StagedFile(path, len(rows), day))
    lake.publish(Staged(table, list(days), files, [], [], "r"))
    warehouse.transact("test", lambda t: warehouse.load(t, lake, table, list(days)), loads=[table])


def rows(home: Home) -> list[tuple[object, ...]]:
    return home.query(
        "select user_id, channel, discount, seen_at, amount from ecommerce.events_cleaned order by user_id"
    )


NEW = ("web", Decimal("0.10"), NOW, Decimal("1.50"))
OLD = (None, None, None, Decimal("1.50"))


def test_old_rows_and_new_ones_are_read_together_after_columns_were_appended(either) -> None:
    publish(either, ECOMMERCE_CLEANED, {MONDAY: "ab"})
    publish(either, WIDER, {TUESDAY: "c"})
    assert rows(either) == [("a", *OLD), ("b", *OLD), ("c", *NEW)]
    snapshot = either.platform.lake.snapshot(WIDER)
    assert [file.width for file in snapshot.files] == [13, 16]
    publish(either, WIDER, {MONDAY: "d"})
    assert rows(either) == [("c", *NEW), ("d", *NEW)]


def test_an_old_day_is_loaded_again_as_it_is_in_the_lake(either) -> None:
    publish(either, ECOMMERCE_CLEANED, {MONDAY: "ab"})
    warehouse = either.platform.warehouse
    warehouse.transact("test", lambda t: warehouse.load(t, either.platform.lake, WIDER, [MONDAY]), loads=[WIDER])
    assert rows(either) == [("a", *OLD), ("b", *OLD)]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (changed(Column("channel", TEXT, "New."), at=3), "move channel to the end"),
        (changed(drop="outcome"), "columns that the registry has not: outcome"),
        (
            dataclasses.replace(ECOMMERCE_CLEANED, columns=ECOMMERCE_CLEANED.columns[::-1]),
            "put them in the order event_id, user_id",
        ),
        (
            changed(Column("amount", TEXT, "Another type."), at=7, drop="amount"),
            r"amount is decimal\(12, 2\) there and string in the registry",
        ),
    ],
    ids=["in the middle", "gone", "in another order", "another type"],
)
def test_any_other_change_of_columns_is_refused_by_name_before_anything_is_published(either, table, says) -> None:
    publish(either, ECOMMERCE_CLEANED, {MONDAY: "ab"})
    before = either.platform.lake.snapshot(ECOMMERCE_CLEANED)
    with pytest.raises(PublishError, match=f"ecommerce_cleaned.events_cleaned in the lake.*{says}"):
        publish(either, table, {TUESDAY: "c"})
    assert either.platform.lake.snapshot(ECOMMERCE_CLEANED) == before
    assert either.query("select user_id from ecommerce.events_cleaned order by 1") == [("a",), ("b",)]
