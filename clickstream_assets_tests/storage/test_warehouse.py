"""What every warehouse does: tried on a DuckDB file, and on a twin of Redshift with its lake on a real S3 server."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.errors import PublishError, QueryRefused
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import ECOMMERCE_CLEANED, QUARANTINE, Table
from clickstream_assets.settings import Settings
from clickstream_assets.storage.lake import Lake, Snapshot
from clickstream_assets.storage.staged import Account, LandingFile, Staged, StagedFile
from clickstream_assets.storage.warehouse import Transaction, Warehouse
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.forked import FORKS
from clickstream_assets_tests.redshift import Twin

MONDAY, TUESDAY, WEDNESDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture(params=["duckdb", "redshift"])
def home(request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Home:
    further = {}
    if request.param == "redshift":
        further = request.getfixturevalue("on_redshift") | {"CLICKSTREAM_WAREHOUSE": "redshift"}
        further |= {"CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root")}
    return use_home(tmp_path / "home", monkeypatch, **further)


@pytest.fixture
def platform(home: Home) -> Platform:
    return home.platform


@pytest.fixture
def lake(platform: Platform) -> Lake:
    return platform.lake


@pytest.fixture
def warehouse(platform: Platform) -> Warehouse:
    return platform.warehouse


def publish(
    lake: Lake, warehouse: Warehouse, days: dict[date, Sequence[str]], table: Table = ECOMMERCE_CLEANED
) -> None:
    """Into the lake, and from there into the warehouse."""
    into_lake(lake, days, table)
    show(warehouse, lake, table, days)


def into_lake(lake: Lake, days: dict[date, Sequence[str]], table: Table = ECOMMERCE_CLEANED) -> None:
    """One file per day with one row per user."""
    files = []
    for day, users in days.items():
        rows = [
            {"user_id": user, "UserID": user, "amount": Decimal("1.50"), "event_timestamp": NOW}
            | dict.fromkeys(table.partition, day)
            for user in users
        ]
        path = lake.new_path(table, day)
        known = [{name: row[name] for name in table.arrow.names if name in row} for row in rows]
        with lake.files.create(path) as stream:
            pq.write_table(pa.Table.from_pylist(known, table.arrow), stream, store_schema=False)
        files.append(StagedFile(path, len(rows), day))
    lake.publish(Staged(table, list(days), [file for file in files if file.rows], [], [], "r"))


def show(warehouse: Warehouse, lake: Lake, table: Table, days: Collection[date] = ()) -> None:
    def work(transaction: Transaction) -> None:
        warehouse.show(transaction, lake, table)
        if table.warehouse:
            warehouse.load(transaction, lake, table, days)

    warehouse.transact("test", work, loads=[table] if table.warehouse else [])


def users(warehouse: Warehouse, where: str = "true") -> list[str]:
    return [
        user for (user,) in warehouse.query(f"select user_id from ecommerce.events_cleaned where {where} order by 1")[1]
    ]


def test_a_load_replaces_its_days_and_no_others(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})
    assert users(warehouse) == ["a", "b", "c"]
    publish(lake, warehouse, {TUESDAY: "de"})
    assert users(warehouse) == ["a", "b", "d", "e"]
    publish(lake, warehouse, {MONDAY: "", TUESDAY: ""})
    assert users(warehouse) == []


def test_a_table_is_loaded_in_a_transaction_that_has_it_for_itself(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    with pytest.raises(ValueError, match=r"ecommerce\.events_cleaned"):
        warehouse.transact("test", lambda t: warehouse.load(t, lake, ECOMMERCE_CLEANED, [MONDAY]), loads=[QUARANTINE])


def test_a_day_that_is_loaded_again_is_there_once(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})
    for _ in range(2):
        show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["a", "b", "c"]


def test_a_first_load_of_nothing_makes_the_relation(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: ""})
    names, rows = warehouse.query("select * from ecommerce.events_cleaned")
    assert (names, rows) == ([column.name for column in ECOMMERCE_CLEANED.columns], [])


def test_a_load_looks_at_the_lake_when_no_other_can_come_between(home, lake, warehouse) -> None:
    """The second load begins in the middle of the first, waits for it, and replaces what it brought."""
    publish(lake, warehouse, {MONDAY: "a"})
    other = home.platform
    ready, begin, looked = threading.Event(), threading.Event(), threading.Event()
    snapshot = other.lake.snapshot

    def look(table: Table, days: Collection[date] | None = None) -> Snapshot:
        looked.set()
        return snapshot(table, days)

    def follow() -> None:
        snapshot(ECOMMERCE_CLEANED)
        other.warehouse.accounts("nobody")  # so that it has connected
        other.lake.snapshot = look
        ready.set()
        begin.wait(30)
        show(other.warehouse, other.lake, ECOMMERCE_CLEANED, [MONDAY])

    def work(transaction: Transaction) -> None:
        into_lake(lake, {MONDAY: "bc", TUESDAY: "t"})
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY, TUESDAY])
        into_lake(lake, {MONDAY: "d"})
        begin.set()
        assert not looked.wait(0.5), "it waits before it looks"

    second = threading.Thread(target=follow)
    second.start()
    ready.wait(30)
    try:
        warehouse.transact("test", work, loads=[ECOMMERCE_CLEANED])
    finally:
        second.join(30)
    assert users(warehouse) == ["d", "t"]


@pytest.mark.parametrize("home", ["redshift"], indirect=True)
def test_two_domains_that_meet_in_the_quarantine_double_nothing(home, lake, warehouse, twin: Twin) -> None:
    """A transaction sees one snapshot, as on Redshift, and publishes a table and its quarantine."""
    role = home.variables["REDSHIFT_COPY_ROLE_ARN"]
    external = f"create external schema spectrum from data catalog database 'raw' iam_role '{role}'"
    warehouse.transact("what most databases have", lambda t: t.run(external))
    twin.isolate(home.variables["REDSHIFT_DATABASE"])
    other = home.platform

    def into_quarantine(lake: Lake, asset: str) -> None:
        table = dataclasses.replace(ECOMMERCE_CLEANED, name=asset)
        path = lake.new_path(QUARANTINE, MONDAY)
        row = {"asset": asset, "rule": "a_rule", "quarantined_at": NOW, "partition_date": MONDAY, "run_id": "r"}
        with lake.files.create(path) as stream:
            pq.write_table(pa.Table.from_pylist([row], QUARANTINE.arrow), stream, store_schema=False)
        lake.publish_quarantine(Staged(table, [MONDAY], [], [StagedFile(path, 1, MONDAY)], [], "r"))

    def record(transaction: Transaction) -> None:
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])
        into_quarantine(other.lake, "the.other")
        second.start()
        second.join(2)
        into_quarantine(lake, "the.one")
        warehouse.load(transaction, lake, QUARANTINE, [MONDAY])

    into_lake(lake, {MONDAY: "a"})
    show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    show(warehouse, lake, QUARANTINE, [MONDAY])
    second = threading.Thread(target=show, args=(other.warehouse, other.lake, QUARANTINE, [MONDAY]))
    warehouse.transact("test", record, loads=[ECOMMERCE_CLEANED, QUARANTINE])
    second.join(30)
    assert warehouse.query("select asset from ops.quarantine order by 1")[1] == [("the.one",), ("the.other",)]


def test_columns_are_never_mixed_up(lake, warehouse) -> None:
    """Files with the columns in another order than the registry's: each value in its column, or all refused."""
    into_lake(lake, {MONDAY: "a"})
    first, second, *others = ECOMMERCE_CLEANED.columns
    assert (first.type, second.name, second.type) == ("varchar", "user_id", "varchar")
    try:
        show(warehouse, lake, dataclasses.replace(ECOMMERCE_CLEANED, columns=(second, first, *others)), [MONDAY])
    except PublishError:
        show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["a"]


def test_values_come_back_as_they_were_published_in_utc(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "a"})
    ((amount, time, text, day),) = warehouse.query(
        "select amount, event_timestamp, event_timestamp::varchar, ingestion_date from ecommerce.events_cleaned"
    )[1]
    assert (amount, time, day) == (Decimal("1.50"), NOW, MONDAY)
    assert text == "2026-03-04 12:00:00+00"


def ledger(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.query("select asset, partition_date, run_id, rows_in, rows_out from ops.row_ledger order by 1, 2")[
        1
    ]


def test_ledger_rows_are_replaced_per_asset_and_partition(warehouse) -> None:
    def record(asset: str, run: str, **accounts: int) -> None:
        days = {"mon": MONDAY, "tue": TUESDAY}
        made = [Account(days[day], rows, rows, source_snapshot=rows) for day, rows in accounts.items()]
        warehouse.transact("test", lambda t: warehouse.record(t, asset=asset, run_id=run, accounts=made))

    record("a.x", "r1", mon=1, tue=2)
    record("b.x", "r2", mon=3)
    record("a.x", "r3", tue=9)
    assert ledger(warehouse) == [
        ("a.x", MONDAY, "r1", 1, 1), ("a.x", TUESDAY, "r3", 9, 9), ("b.x", MONDAY, "r2", 3, 3)
    ]  # fmt: skip
    assert warehouse.accounts("a.x") == {
        MONDAY: Account(MONDAY, 1, 1, source_snapshot=1), TUESDAY: Account(TUESDAY, 9, 9, source_snapshot=9)
    }  # fmt: skip
    assert warehouse.accounts("nobody") == {}


def test_what_was_recorded_in_a_failed_transaction_is_not_there(warehouse) -> None:
    def record(transaction: Transaction, rows: int, error: type[BaseException] | None = None) -> None:
        warehouse.record(transaction, asset="a.x", run_id=f"r{rows}", accounts=[Account(MONDAY, rows, rows)])
        if error:
            transaction.run("create table ops.half as select 1 as one")
            raise error

    warehouse.transact("test", lambda t: record(t, 1))
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            warehouse.transact("test", partial(record, rows=2, error=error))
    assert ledger(warehouse) == [("a.x", MONDAY, "r1", 1, 1)]
    with pytest.raises(QueryRefused):
        warehouse.query("select * from ops.half")


def test_an_sql_error_rolls_back_and_lets_go_of_the_warehouse(warehouse) -> None:
    def work(transaction: Transaction) -> None:
        warehouse.record(transaction, asset="a.x", run_id="r", accounts=[Account(MONDAY, 1, 1)])
        transaction.run("select nonsense")

    with pytest.raises(Exception, match="nonsense"):
        warehouse.transact("test", work)
    assert ledger(warehouse) == []


def test_a_warehouse_goes_on_after_an_error(lake, warehouse) -> None:
    """The same object, after an error of SQL, of a query, of a load and of the caller."""

    def record(transaction: Transaction, then: Callable[[Transaction], object]) -> None:
        warehouse.record(transaction, asset="a.x", run_id="r", accounts=[Account(MONDAY, 1, 1)])
        then(transaction)

    def interrupt(transaction: Transaction) -> None:
        raise KeyboardInterrupt

    def load_what_is_not_there(transaction: Transaction) -> None:
        for file in lake.snapshot(ECOMMERCE_CLEANED).files:
            lake.files.delete(lake.files.relative(file.uri))
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])

    publish(lake, warehouse, {MONDAY: "a"})
    for fail in (lambda t: t.run("select nonsense"), interrupt, load_what_is_not_there):
        with pytest.raises((Exception, KeyboardInterrupt)):
            warehouse.transact("test", partial(record, then=fail), loads=[ECOMMERCE_CLEANED])
        assert warehouse.accounts("a.x") == {}, "in a transaction, which must not be the one that failed"
        with pytest.raises(QueryRefused):
            warehouse.query("select nonsense")
        publish(lake, warehouse, {MONDAY: "b"})
        assert users(warehouse) == ["b"]
        assert ledger(warehouse) == []
    warehouse.transact("test", partial(record, then=lambda _: None))
    assert ledger(warehouse) == [("a.x", MONDAY, "r", 1, 1)]


def landing_file(path: str, day: date, status: str = "loaded") -> LandingFile:
    return LandingFile(path, 10, "ab" * 32, day, 3, status, "r")


def test_landing_files_are_replaced_per_folder_and_day(warehouse) -> None:
    def replace(root: str, days: list[date], *files: LandingFile) -> None:
        warehouse.transact("test", lambda t: warehouse.replace_landing_files(t, root=root, days=days, files=files))

    monday, tuesday = landing_file("shop/a.csv", MONDAY), landing_file("shop/b.csv", TUESDAY)
    other = landing_file("shop2/c.csv", MONDAY)
    replace("shop", [MONDAY, TUESDAY], monday, tuesday)
    replace("shop2", [MONDAY], other)
    changed = landing_file("shop/z.csv", MONDAY, "rejected_file")
    replace("shop", [MONDAY], changed)
    assert sorted(warehouse.landing_files("shop"), key=lambda file: file.path) == [tuesday, changed]
    assert warehouse.landing_files("shop2") == [other]
    replace("shop", [TUESDAY])
    assert warehouse.landing_files("shop") == [changed]
    replace("shop", [])
    assert warehouse.landing_files("shop") == [changed]


def test_the_same_landing_files_recorded_again_are_there_once(warehouse) -> None:
    file = landing_file("shop/a.csv", MONDAY)
    for _ in range(2):
        replace = partial(warehouse.replace_landing_files, root="shop", days=[MONDAY], files=[file])
        warehouse.transact("test", replace)
    assert warehouse.landing_files("shop") == [file]


def test_the_run_window_is_exactly_the_days_given_for_that_domain(warehouse) -> None:
    warehouse.set_run_window("shop", [MONDAY, WEDNESDAY])
    warehouse.set_run_window("other", [TUESDAY])
    warehouse.set_run_window("shop", [TUESDAY, WEDNESDAY])
    assert warehouse.query("select * from ops.run_window order by 1, 2")[1] == [
        ("other", TUESDAY), ("shop", TUESDAY), ("shop", WEDNESDAY)
    ]  # fmt: skip


def test_rows_are_counted_for_the_days_asked_for(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})

    def count(opened: Transaction) -> Mapping[date, int]:
        return warehouse.rows_by_day(opened, "ecommerce.events_cleaned", "ingestion_date", [MONDAY, WEDNESDAY])

    assert warehouse.transact("test", count) == {MONDAY: 2}


def test_the_status_of_an_empty_warehouse_has_titles_and_no_rows(warehouse) -> None:
    parts = list(warehouse.status())
    assert [part.name for part in parts] == ["tables", "ledger", "rejected", "landing_files"]
    assert all(part.title and part.columns and part.rows == [] for part in parts)


class Interrupted(Exception):
    """What a test raises in the middle of a load."""


def test_a_load_that_fails_after_it_deleted_keeps_the_old_rows(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})

    def work(transaction: Transaction) -> None:
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])
        raise Interrupted

    into_lake(lake, {MONDAY: "xyz"})
    with pytest.raises(Interrupted):
        warehouse.transact("test", work, loads=[ECOMMERCE_CLEANED])
    assert users(warehouse) == ["a", "b", "c"]
    show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["c", "x", "y", "z"]


def load_days(variables: dict[str, str], worker: int, days: Sequence[date]) -> None:
    """One process's work: publish each day, and load it."""
    platform = Platform(Settings.from_environment(variables))
    os.environ.update({name: value for name, value in variables.items() if name.startswith("AWS_")})
    for day in days:
        into_lake(platform.lake, {day: [f"{worker}-{day}"]})
        show(platform.warehouse, platform.lake, ECOMMERCE_CLEANED, [day])


@pytest.mark.parametrize("shared", [False, True], ids=["different days", "the same days"])
def test_several_processes_that_load_at_once_lose_nothing_and_double_nothing(home, lake, warehouse, shared) -> None:
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    days = [[MONDAY + timedelta(days=n + (0 if shared else 10 * worker)) for n in range(3)] for worker in range(3)]
    workers = [
        FORKS.Process(target=load_days, args=({**aws, **home.variables}, n, mine)) for n, mine in enumerate(days)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 3
    found = users(warehouse)
    wanted = {f"{worker}-{day}" for worker, mine in enumerate(days) for day in mine}
    if not shared:
        assert found == sorted(wanted)
    assert set(found) <= wanted
    assert Counter(user.partition("-")[2] for user in found) == {str(day): 1 for mine in days for day in mine}
    in_lake = lake.snapshot(ECOMMERCE_CLEANED)
    assert sum(file.rows for file in in_lake.files) == len(found)
