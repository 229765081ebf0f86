"""What is done over of a publication that a process did not live to finish."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.errors import PublishError
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


TUESDAY = date(2026, 3, 3)


class Refused(PublishError):
    """What a warehouse says that does not take a file."""


def test_what_the_warehouse_refuses_holds_up_nobody_else_and_is_asked_for_together(home: Home, monkeypatch) -> None:
    """Published in the lake, and refused: the days wait for a run of all of them, in which they may be mended."""
    lake, warehouse = home.platform.lake, home.platform.warehouse
    publishing.publish(lake, warehouse, stage(lake, "first", 1))
    bring = type(warehouse).bring

    def refuse(self, transaction, lake, table, days):
        if table is ECOMMERCE_CLEANED:
            raise Refused("the second file cannot be loaded")
        return bring(self, transaction, lake, table, days)

    with monkeypatch.context() as patch:
        patch.setattr(type(warehouse), "bring", refuse)
        both = replace(stage(lake, "both", 2), days=[MONDAY, TUESDAY])
        with pytest.raises(Refused):
            publishing.publish(lake, warehouse, both)
        with home.platform.exclusive("ecommerce", "a step"):
            pass
        assert home.query("select run_id from ops.row_ledger") == [("first",)]
    with pytest.raises(PublishError, match="run 2026-03-02 to 2026-03-03 together"):
        publishing.publish(lake, warehouse, stage(lake, "monday alone", 3))
    publishing.publish(lake, warehouse, replace(stage(lake, "mended", 3), days=[MONDAY, TUESDAY]))
    assert publishing.unfinished(lake, "ecommerce") == []
    assert home.query("select count(*) from ecommerce.events_cleaned") == [(3,)]


def test_what_another_machine_has_finished_and_replaced_is_not_done_over(home: Home, monkeypatch) -> None:
    """It reads the note, and before it acts the days are published anew: those rows stay."""
    lake, warehouse = home.platform.lake, home.platform.warehouse
    old = stage(lake, "old", 1)
    lake.files.write(publishing.note(lake, ECOMMERCE_CLEANED), publishing.to_json(old).encode())
    lake.publish(old)
    quarantine = lake.publish_quarantine

    def meanwhile(staged: Staged) -> None:
        quarantine(staged)
        monkeypatch.undo()
        other = home.platform
        publishing.publish(other.lake, other.warehouse, stage(lake, "new", 2))

    monkeypatch.setattr(lake, "publish_quarantine", meanwhile)
    publishing.reconcile(lake, warehouse, "ecommerce")
    assert home.query("select run_id, rows_out from ops.row_ledger") == [("new", 2)]
    assert publishing.unfinished(lake, "ecommerce") == []
