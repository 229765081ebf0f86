"""What is done over of a publication that a process did not live to finish."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.schemas import ECOMMERCE_CLEANED
from clickstream_assets.storage import publishing
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.staged import Account, Staged, StagedFile
from clickstream_assets_tests.conftest import Home

MONDAY = date(2026, 3, 2)


def stage(lake: Lake, run_id: str, rows: int) -> Staged:
    path = lake.new_path(ECOMMERCE_CLEANED, MONDAY)
    with lake.files.create(path) as stream:
        row = {"ingestion_date": MONDAY}
        pq.write_table(pa.Table.from_pylist([row] * rows, ECOMMERCE_CLEANED.arrow), stream, store_schema=False)
    accounts = [Account(MONDAY, rows, rows)]
    return Staged(ECOMMERCE_CLEANED, [MONDAY], [StagedFile(path, rows, MONDAY)], [], accounts, run_id)


@pytest.mark.parametrize("looks", [0, 2])
def test_a_publication_is_finished_though_others_looked_before_it_was_in_the_lake(home: Home, looks: int) -> None:
    """A process on another machine has no part in this one's lock, e.g. the daemon, which looks for days to repair."""
    lake, warehouse = home.platform.lake, home.platform.warehouse
    publishing.publish(lake, warehouse, stage(lake, "first", 1))
    staged = stage(lake, "second", 2)
    lake.files.write(publishing.note(lake, ECOMMERCE_CLEANED), publishing.to_json(staged).encode())
    for _ in range(looks):
        assert publishing.reconcile(lake, warehouse, "ecommerce") == []
    lake.publish(staged)  # and here it is killed
    assert publishing.reconcile(lake, warehouse, "ecommerce") == [ECOMMERCE_CLEANED.name]
    assert home.query("select run_id, rows_out from ops.row_ledger") == [("second", 2)]
    assert home.query("select count(*) from ecommerce.events_cleaned") == [(2,)]
    assert publishing.unfinished(lake, "ecommerce") == []


def test_a_publication_that_never_was_in_the_lake_is_nothing_to_finish_and_gives_way_to_the_next(home: Home) -> None:
    lake, warehouse = home.platform.lake, home.platform.warehouse
    lake.files.write(publishing.note(lake, ECOMMERCE_CLEANED), publishing.to_json(stage(lake, "dead", 3)).encode())
    assert publishing.reconcile(lake, warehouse, "ecommerce") == []
    publishing.publish(lake, warehouse, stage(lake, "next", 1))
    assert publishing.reconcile(lake, warehouse, "ecommerce") == []
    assert publishing.unfinished(lake, "ecommerce") == []
    assert home.query("select run_id, rows_out from ops.row_ledger") == [("next", 1)]
