"""The warehouse on Redshift: what it says to a twin of it, and what it does when the twin refuses."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from clickstream_assets.errors import ClickstreamError, PublishError, QueryRefused
from clickstream_assets.schemas import ECOMMERCE_CLEANED, TABLES, TEXT, Column, Table
from clickstream_assets.storage import redshift_warehouse
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.redshift_warehouse import RedshiftWarehouse, ddl
from clickstream_assets.storage.staged import Account
from clickstream_assets.storage.warehouse import Transaction
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.storage.test_warehouse import MONDAY, TUESDAY, into_lake, publish, show, users


@pytest.fixture
def home(on_redshift: dict[str, str], s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    further = on_redshift | {"CLICKSTREAM_WAREHOUSE": "redshift", "CLICKSTREAM_LAKE_URI": s3_root}
    return use_home(tmp_path / "home", monkeypatch, **further)


@pytest.fixture
def lake(home: Home) -> Lake:
    return home.platform.lake


@pytest.fixture
def warehouse(home: Home) -> RedshiftWarehouse:
    found = home.platform.warehouse
    assert isinstance(found, RedshiftWarehouse)
    return found


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent from now on."""
    from redshift_connector.core import Connection

    sent: list[str] = []
    execute = Connection.execute

    def recorded(self, cursor, operation, vals):
        sent.append(operation)
        return execute(self, cursor, operation, vals)

    monkeypatch.setattr(Connection, "execute", recorded)
    return sent


def test_a_load_is_one_transaction_that_copies_by_role_and_manifest_and_replaces_by_name(
    lake, warehouse, statements
) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    statements.clear()
    publish(lake, warehouse, {MONDAY: "c"})
    verbs = [" ".join(sql.split()[:2]).lower() for sql in statements]
    wanted = [
        "begin transaction",
        "lock",
        "create temp",
        "copy",
        "select count(*)",
        "delete from",
        "insert into",
        "drop table",
        "commit",
    ]
    places = [next(n for n, verb in enumerate(verbs) if verb.startswith(word)) for word in wanted]
    assert places == sorted(places)
    assert (verbs.count("begin transaction"), verbs.count("commit")) == (1, 1)
    assert not {"truncate", "vacuum", "unload"} & {verb.split()[0] for verb in verbs}
    (copy,) = [sql for sql in statements if sql.startswith("copy")]
    assert "iam_role 'arn:aws:iam::" in copy and "manifest" in copy
    assert "key" not in copy.lower() and "credentials" not in copy.lower()
    (insert,) = [sql for sql in statements if sql.startswith('insert into "ecommerce"')]
    assert insert.count('"ingestion_date"') == 2
    assert lake.files.files(f"{lake.folder(ECOMMERCE_CLEANED)}/staging", hidden=True) == []


def test_readers_see_the_rows_of_before_while_a_load_is_at_work(home, lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    into_lake(lake, {MONDAY: "c"})

    def work(transaction: Transaction) -> None:
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])
        assert users(home.platform.warehouse) == ["a", "b"]

    warehouse.transact("test", work, loads=[ECOMMERCE_CLEANED])
    assert users(warehouse) == ["c"]


def test_a_stray_file_in_the_days_folder_is_not_loaded(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    (file,) = lake.snapshot(ECOMMERCE_CLEANED).files
    path = lake.files.relative(file.uri)
    content = lake.files.read(path)
    lake.files.write(path.replace(".parquet", "-stray.parquet"), content)
    show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["a", "b"]


@pytest.mark.parametrize("where", ["^copy", "^delete", "^insert", r"insert into ops\.row_ledger"])
def test_error_1023_begins_the_transaction_again(lake, warehouse, twin: Twin, where) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    into_lake(lake, {MONDAY: "xyz"})
    for _ in range(2):
        twin.fail_next(where)
    calls = []

    def work(transaction: Transaction) -> None:
        calls.append(transaction)
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])
        warehouse.record(transaction, asset="a.x", run_id="r", accounts=[Account(MONDAY, 3, 3)])

    warehouse.transact("test", work, loads=[ECOMMERCE_CLEANED])
    assert len(calls) == 3
    assert users(warehouse) == ["x", "y", "z"]
    assert warehouse.query("select rows_out from ops.row_ledger")[1] == [(3,)]


def test_error_1023_is_not_tried_for_ever(warehouse, twin: Twin, monkeypatch) -> None:
    monkeypatch.setattr(redshift_warehouse, "_ATTEMPTS", 3)
    for _ in range(4):
        twin.fail_next("select 17")
    calls = []
    with pytest.raises(ClickstreamError, match="1023"):
        warehouse.transact("test", lambda t: (calls.append(1), t.run("select 17")))
    assert len(calls) == 3
    with pytest.raises(ClickstreamError):  # the fourth
        warehouse.query("select 17")


@pytest.mark.parametrize("message", ["deadlock detected", "error 1023 was not it", "10230"])
def test_other_errors_are_told_and_not_tried_again(warehouse, twin: Twin, message) -> None:
    twin.fail_next("select 18", message=message, detail="")
    calls = []
    with pytest.raises(ClickstreamError, match=f"Redshift failed at a test: {message}.*Run again"):
        warehouse.transact("a test", lambda t: (calls.append(1), t.run("select 18")))
    assert len(calls) == 1
    assert warehouse.transact("after it", lambda t: t.run("select 18")) == [(18,)]


@pytest.mark.parametrize("error", [PublishError("one of ours"), FileNotFoundError("of the lake"), KeyboardInterrupt()])
def test_an_error_that_is_not_redshifts_is_raised_as_it_is(warehouse, error) -> None:
    def work(transaction: Transaction) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        warehouse.transact("a test", work)
    assert raised.value is error
    assert error.__cause__ is None, "or whoever follows the causes of an error never comes to an end"


def test_a_file_that_copy_refuses_is_named_with_its_column(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})
    into_lake(lake, {MONDAY: "d"})
    (file,) = lake.snapshot(ECOMMERCE_CLEANED, [MONDAY]).files
    path = lake.files.relative(file.uri)
    wrong = ECOMMERCE_CLEANED.arrow.set(7, pa.field("amount", pa.float64()))
    with lake.files.create(path) as stream:
        pq.write_table(pa.Table.from_pylist([{"user_id": "d", "amount": 1.0}], wrong), stream)
    with pytest.raises(PublishError, match=r"Redshift could not load ecommerce\.events_cleaned: ") as refused:
        show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert "content_length" in str(refused.value) or "amount" in str(refused.value)
    assert path.rpartition("/")[2] in str(refused.value)
    assert users(warehouse) == ["a", "b", "c"]


def test_the_error_of_an_older_copy_is_not_taken_for_that_of_one_that_left_none(lake, warehouse, twin: Twin) -> None:
    """Redshift gives the numbers of sessions again, and keeps the errors of loads for days."""
    publish(lake, warehouse, {MONDAY: "ab"})
    twin._administer(
        f"insert into sys_load_error_detail (session_id, start_time, file_name, error_message) "
        f"values ({warehouse._kept.session}, getdate() - interval '1 hour', 's3://old/file', 'an old error')",
        database=warehouse._settings.database,
    )
    twin.fail_next("^copy", message="S3ServiceException:Access Denied", detail="")
    with pytest.raises(PublishError, match=r"ecommerce\.events_cleaned: S3ServiceException:Access Denied"):
        show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])


def test_a_copy_that_failed_is_told_though_redshift_cannot_say_more(lake, warehouse, twin: Twin) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    into_lake(lake, {MONDAY: "c"})
    twin.fail_next("^copy", message="no such role")
    twin.fail_next("sys_load_error_detail", message="gone")
    with pytest.raises(PublishError, match=r"could not load ecommerce\.events_cleaned: .*no such role"):
        show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["a", "b"]


def appended(*names: str, at: int | None = None) -> Table:
    columns = list(ECOMMERCE_CLEANED.columns)
    place = len(columns) if at is None else at
    columns[place:place] = [Column(name, TEXT, "New.") for name in names]
    return dataclasses.replace(ECOMMERCE_CLEANED, columns=tuple(columns))


def make(warehouse: RedshiftWarehouse, table: Table) -> None:
    warehouse.transact("test", lambda t: None, loads=[table])


def test_a_column_that_is_appended_is_added_and_old_files_load_without_it(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    show(warehouse, lake, appended("channel"), [MONDAY])
    names, rows = warehouse.query("select * from ecommerce.events_cleaned")
    assert names[-1] == "channel"
    assert [row[-1] for row in rows] == [None, None]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (appended("channel", at=3), "move channel to the end"),
        (
            dataclasses.replace(ECOMMERCE_CLEANED, columns=ECOMMERCE_CLEANED.columns[1:]),
            "columns that the registry has not: event_id",
        ),
        (
            dataclasses.replace(ECOMMERCE_CLEANED, columns=ECOMMERCE_CLEANED.columns[::-1]),
            "put them in the order event_id, user_id",
        ),
    ],
    ids=["in the middle", "gone", "in another order"],
)
def test_columns_that_copy_would_put_in_the_wrong_place_are_refused_by_name(lake, warehouse, table, says) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    with pytest.raises(PublishError, match=says):
        make(warehouse, table)
    assert users(warehouse) == ["a", "b"]


@pytest.mark.parametrize("table", [table for table in TABLES if table.warehouse], ids=lambda table: table.name)
def test_tables_are_declared_as_registered(table) -> None:
    (statement,) = sqlglot.parse(ddl(table), read="redshift")
    declared = {
        column.name: column.kind.sql(dialect="redshift") for column in statement.find_all(sqlglot.exp.ColumnDef)
    }
    types = {"varchar": "VARCHAR(65535)", "bigint": "BIGINT", "date": "DATE", "timestamptz": "TIMESTAMP WITH TIME ZONE",
             "decimal(12,2)": "DECIMAL(12, 2)", "decimal(18,2)": "DECIMAL(18, 2)", "boolean": "BOOLEAN"}  # fmt: skip
    assert declared == {column.name: types[column.type] for column in table.columns}
    assert table.sort, "each table says by what it is sorted"


@pytest.mark.parametrize(
    "sql",
    ["drop table ops.run_window", "delete from ops.run_window", "select 1; drop table ops.run_window", "commit",
     "select * into ops.copied from ops.run_window", "with x as (delete from ops.run_window returning 1) select 1",
     "unload ('select 1') to 's3://b/x' iam_role 'arn:aws:iam::123456789012:role/x'", "-- c\n insert into x values (1)",
     "explain analyze delete from ops.run_window", "create table ops.x (a int)", "", ";", "selec 1"],
)  # fmt: skip
def test_statements_that_are_no_queries_are_refused(warehouse, sql) -> None:
    warehouse.set_run_window("kept", [date(2026, 1, 1)])
    with pytest.raises(QueryRefused) as refused:
        warehouse.query(sql)
    assert "\n" not in str(refused.value)
    assert warehouse.query("select domain from ops.run_window")[1] == [("kept",)]
    assert warehouse.query("select count(*) from information_schema.tables where table_schema = 'ops'")[1] == [(5,)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_that_does_not_let_us_in_is_one_sentence_without_the_password(home: Home, monkeypatch) -> None:
    secret = "not-the-pass-word"
    monkeypatch.setenv("REDSHIFT_PASSWORD", secret)
    other = dataclasses.replace(home, further={**home.further, "REDSHIFT_PASSWORD": secret})
    with pytest.raises(ClickstreamError, match="cannot be opened as loader") as refused:
        other.query("select 1")
    assert "\n" not in str(refused.value)
    assert secret not in str(refused.value) + repr(other.settings)
    del refused
    gc.collect()  # the driver leaves the socket of a failed login open, which a later test would be told of


def test_a_connection_that_was_cut_while_it_was_idle_is_opened_again(warehouse, twin: Twin, monkeypatch) -> None:
    monkeypatch.setattr(redshift_warehouse, "_IDLE", 0)
    assert warehouse.transact("test", lambda t: t.run("select 1")) == [(1,)]
    twin.kill_connections()
    assert warehouse.transact("test", lambda t: t.run("select 2")) == [(2,)]


def test_a_statement_may_take_longer_than_it_may_take_to_connect(home, warehouse, monkeypatch) -> None:
    """A COPY takes minutes, and so may the wait for another load."""
    monkeypatch.setattr(redshift_warehouse, "_CONNECT_SECONDS", 1)
    make(warehouse, ECOMMERCE_CLEANED)
    holds, other = threading.Event(), home.platform.warehouse

    def hold(transaction: Transaction) -> None:
        holds.set()
        time.sleep(2)

    first = threading.Thread(target=other.transact, args=("the first", hold), kwargs={"loads": [ECOMMERCE_CLEANED]})
    first.start()
    assert holds.wait(30)
    begun = time.monotonic()
    make(warehouse, ECOMMERCE_CLEANED)
    assert time.monotonic() - begun > 1, "it did not wait"
    first.join(30)


def test_a_restart_between_copy_and_commit_keeps_the_old_rows_and_the_next_load_ends_right(
    lake, warehouse, twin: Twin
) -> None:
    publish(lake, warehouse, {MONDAY: "ab"})
    into_lake(lake, {MONDAY: "xyz"})

    def work(transaction: Transaction) -> None:
        warehouse.load(transaction, lake, ECOMMERCE_CLEANED, [MONDAY])
        twin.stop()
        twin.start()

    with pytest.raises(ClickstreamError, match="Run again"):
        warehouse.transact("test", work, loads=[ECOMMERCE_CLEANED])
    assert users(warehouse) == ["a", "b"]
    show(warehouse, lake, ECOMMERCE_CLEANED, [MONDAY])
    assert users(warehouse) == ["x", "y", "z"]
