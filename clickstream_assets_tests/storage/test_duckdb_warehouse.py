"""The warehouse on DuckDB: real files, views over really published files, and other processes that are in the way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from clickstream_assets.errors import Busy, ClickstreamError, QueryRefused
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, QUARANTINE, TABLES
from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.warehouse import Warehouse, identifier
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.storage.test_warehouse import ledger, publish, show, users

MONDAY, TUESDAY, WEDNESDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def lake(home: Home) -> Lake:
    return home.platform.lake


@pytest.fixture
def warehouse(home: Home) -> DuckDBWarehouse:
    return DuckDBWarehouse(home.settings.warehouse_path, lock_timeout=2)


def test_a_query_for_one_day_reads_that_days_files_only(lake, warehouse) -> None:
    """The first file is opened for its columns, whatever is asked; so the unreadable ones are later."""
    publish(lake, warehouse, {date(2026, 3, 1): "z", MONDAY: "ab", TUESDAY: "c", WEDNESDAY: "d"})
    for file in lake.snapshot(ECOMMERCE_CLEANED, [MONDAY, WEDNESDAY]).files:
        Path(file.uri.removeprefix("file://")).write_bytes(b"no Parquet")
    for where in (
        "ingestion_date = '2026-03-03'",
        "ingestion_date = date '2026-03-03'",
        "ingestion_date in ('2026-03-01', '2026-03-03') and user_id = 'c'",
        "ingestion_date between '2026-03-03' and '2026-03-03'",
    ):
        assert users(warehouse, where) == ["c"]
    with pytest.raises(QueryRefused, match="Parquet"):
        users(warehouse)
    _, plan = warehouse.query("explain select * from ecommerce.events_cleaned where ingestion_date = '2026-03-03'")
    assert "1/4" in plan[0][1], plan[0][1]


@pytest.mark.parametrize("table", [t for t in TABLES if t.external or t.warehouse], ids=lambda table: table.name)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "with rows"])
def test_a_view_has_the_registered_columns_and_types_with_rows_and_without(lake, warehouse, table, filled) -> None:
    if filled and table is not QUARANTINE:
        publish(lake, warehouse, {MONDAY: "a"}, table)
    else:
        show(warehouse, lake, table)
    _, rows = warehouse.query(f"describe {table.warehouse or table.external}")
    names = {"varchar": "VARCHAR", "bigint": "BIGINT", "date": "DATE", "timestamptz": "TIMESTAMP WITH TIME ZONE",
             "decimal(12,2)": "DECIMAL(12,2)", "decimal(18,2)": "DECIMAL(18,2)", "boolean": "BOOLEAN"}  # fmt: skip
    assert [row[:2] for row in rows] == [(column.name, names[column.type]) for column in table.columns]


def test_raw_columns_keep_their_case(lake, warehouse) -> None:
    publish(lake, warehouse, {MONDAY: "a"}, ECOMMERCE_RAW)
    columns, rows = warehouse.query("select * from spectrum_ecommerce.events_raw")
    assert columns == ECOMMERCE_RAW.arrow.names and len(rows) == 1


def test_a_home_with_quotes_and_blanks_in_its_path_works(tmp_path) -> None:
    home = Home(tmp_path / "o'brien's \"home\" é")
    warehouse = home.platform.warehouse
    publish(home.platform.lake, warehouse, {MONDAY: "ab", TUESDAY: "c"})
    assert users(warehouse) == ["a", "b", "c"]
    assert users(warehouse, "ingestion_date = '2026-03-03'") == ["c"]


@pytest.mark.parametrize(
    "name",
    [
        "a;drop table x",
        "a'b",
        'a"b',
        "Upper",
        "a b",
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "1a",
        "é",
        "a-b",
        "a\n",
        "a" * 64,
        "a.b;c",
    ],
)
def test_names_that_are_not_plain_are_refused(name) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        identifier(name)


def test_plain_names_are_quoted_part_by_part() -> None:
    assert identifier("select") == '"select"'
    assert identifier("ops.row_ledger") == '"ops"."row_ledger"'


READS = [
    "select 1", "SELECT 1;", "-- why\nselect 1", "with x as (select 1) select * from x",
    "from ops.row_ledger", "values (1)",
    "show tables", "show all tables", "describe ops.row_ledger", "describe select 1",
    "summarize ops.row_ledger",
    "explain select 1", "EXPLAIN ANALYZE select 1", "/* c */ -- d\n explain analyze select 1",
    "explain (format json) select 1",
    "explain with x as (select 1) from x", "pragma table_info('ops.row_ledger')", "select 1; select 2",
]  # fmt: skip
WRITES = [
    "create table x (a int)", "create temp table x as select 1", "create view v as select 1",
    "create macro f() as 1",
    "insert into ops.run_window values ('x', '2026-01-01')", "update ops.run_window set domain = 'x'",
    "delete from ops.run_window", "truncate ops.run_window", "drop table ops.run_window",
    "alter table ops.run_window add column x int",
    "copy (select 1) to '{folder}/stolen.csv'", "export database '{folder}/stolen'", "attach ':memory:' as m",
    "use memory",
    "set threads = 1", "reset threads", "set variable x = 1", "pragma threads = 1",
    "pragma enable_object_cache",
    "install httpfs", "load httpfs", "call pragma_version()", "begin", "commit", "checkpoint", "vacuum",
    "prepare x as select 1",
    "explain analyze copy (select 1) to '{folder}/stolen.csv'",
    "explain analyze create temp table x as select 1",
    "EXPLAIN\tANALYZE\n(format json) COPY (select 1) TO '{folder}/stolen.csv'",
    "explain /* c */ analyze copy (select 1) to '{folder}/stolen.csv'",
    "/* explain */ explain -- c\n analyze copy (select 1) to '{folder}/stolen.csv'",
    "explain/**/analyze copy (select 1) to '{folder}/stolen.csv'",
    "explain (analyze) copy (select 1) to '{folder}/stolen.csv'",
    "explain (analyze, format json) copy (select 1) to '{folder}/stolen.csv'",
    "explain analyze set threads = 1", "explain insert into ops.run_window values ('x', '2026-01-01')",
    "select 1; drop table ops.run_window", "select 1; explain analyze copy (select 1) to '{folder}/stolen.csv'",
    "explain select 1; explain analyze copy (select 1) to '{folder}/stolen.csv'",
]  # fmt: skip


@pytest.mark.parametrize("sql", READS)
def test_queries_run(warehouse, sql) -> None:
    columns, rows = warehouse.query(sql)
    assert columns and all(len(row) == len(columns) for row in rows)


@pytest.mark.parametrize("sql", WRITES)
def test_statements_that_could_change_something_are_refused(warehouse, tmp_path, sql) -> None:
    warehouse.set_run_window("kept", [MONDAY])
    with pytest.raises(QueryRefused):
        warehouse.query(sql.format(folder=tmp_path))
    assert not list(tmp_path.glob("stolen*"))
    assert warehouse.query("from ops.run_window")[1] == [("kept", MONDAY)]


def test_the_last_of_several_queries_answers(warehouse) -> None:
    assert warehouse.query("select 1 as one; select 2 as two;") == (["two"], [(2,)])


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "empty"), (" ;; -- nothing", "empty"), ("selec 1", 'near "selec"'), ("select * from nowhere",
        "nowhere"),
        ("select 'open", "unterminated"), ("select error('two\n\nlines')", "two lines"),
        ("insert into x values (1)", "INSERT"),
        ("explain", "end of input"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_readable_line(warehouse, sql, words) -> None:
    with pytest.raises(QueryRefused) as refusal:
        warehouse.query(sql)
    message = str(refusal.value)
    assert words in message
    assert "\n" not in message and "  " not in message and len(message) < 200


def test_a_query_of_a_warehouse_that_is_not_there_finds_it_empty(warehouse) -> None:
    assert warehouse.query("select count(*) from ops.row_ledger") == (["count_star()"], [(0,)])


def test_nothing_is_fetched_from_the_network(warehouse) -> None:
    _, rows = warehouse.query("select name, value from duckdb_settings() where name like 'auto%known_extensions'")
    assert dict(rows) == {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with warehouse.connect("test") as connection:
        writing = connection.execute("select current_setting('autoinstall_known_extensions')").fetchone()
    assert writing == (False,)
    for sql in (
        "from 'https://example.invalid/a.parquet'",
        "from read_parquet('s3://example/a.parquet')",
        "from sqlite_scan('a', 'b')",
    ):
        with pytest.raises(QueryRefused):
            warehouse.query(sql)


HOLD = """
import sys, time
from pathlib import Path
from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse
with DuckDBWarehouse(Path(sys.argv[1]), lock_timeout=5).{how}:
    print("held", flush=True)
    time.sleep(60)
"""
FOREIGN = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        process.stdout and process.stdout.close()


def hold(holders: list[subprocess.Popen[str]], warehouse: Warehouse, program: str) -> subprocess.Popen[str]:
    """A process that holds the warehouse by now."""
    process = subprocess.Popen([sys.executable, "-c", program, str(warehouse.path)], stdout=subprocess.PIPE, text=True)
    holders.append(process)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", ["connect('a long run')", "locked('a long run')"])
def test_a_warehouse_that_another_process_holds_is_waited_for_and_its_holder_named(warehouse, holders, how) -> None:
    process = hold(holders, warehouse, HOLD.format(how=how))
    warehouse.lock_timeout = 0.5
    started = time.monotonic()
    with pytest.raises(Busy) as busy, warehouse.connect("test"):
        pass
    assert 0.4 < time.monotonic() - started < 3
    message = str(busy.value)
    assert f"process {process.pid} (a long run, since 20" in message and str(warehouse.path) in message
    assert "\n" not in message
    with pytest.raises(Busy, match=f"process {process.pid}"), warehouse.reader("test", timeout=0.2):
        pass


def test_a_reader_of_a_warehouse_that_is_being_made_waits_no_longer_than_it_said(warehouse, holders) -> None:
    hold(holders, warehouse, HOLD.format(how="locked('making it')"))
    warehouse.lock_timeout = 30
    started = time.monotonic()
    with pytest.raises(Busy, match="making it"), warehouse.reader("test", timeout=0.2):
        pass
    assert time.monotonic() - started < 3


def test_a_killed_holder_lets_go_within_a_second(warehouse, holders) -> None:
    process = hold(holders, warehouse, HOLD.format(how="connect('doomed')"))
    process.kill()
    process.wait()
    started = time.monotonic()
    assert ledger(warehouse) == []
    assert time.monotonic() - started < 1
    with warehouse.locked("test"):
        assert warehouse._lock._holder().what == "test"
    assert warehouse._lock._holder() is None


def test_a_waiting_process_gets_the_warehouse_when_the_holder_ends(warehouse, holders) -> None:
    process = hold(holders, warehouse, HOLD.format(how="connect('short')").replace("sleep(60)", "sleep(0.4)"))
    warehouse.lock_timeout = 10
    with warehouse.connect("test"):
        assert process.wait(5) == 0


def test_the_warehouse_may_be_held_and_opened_within_one_process(warehouse) -> None:
    with warehouse.locked("outer"):
        warehouse.set_run_window("shop", [MONDAY])
        with warehouse.locked("inner"):
            assert warehouse.query("from ops.run_window")[1] == [("shop", MONDAY)]
        assert warehouse._lock._holder().what == "outer"
        warehouse.set_run_window("shop", [TUESDAY])
    assert warehouse._lock._holder() is None
    assert warehouse.query("from ops.run_window")[1] == [("shop", TUESDAY)]


def test_a_program_that_does_not_know_the_lock_gives_a_sentence(warehouse, holders) -> None:
    with warehouse.connect("make"):
        pass
    process = hold(holders, warehouse, FOREIGN)
    warehouse.lock_timeout = 0.3
    with pytest.raises(Busy) as busy, warehouse.connect("test"):
        pass
    message = str(busy.value)
    assert str(process.pid) in message and str(warehouse.path) in message
    assert "\n" not in message
    warehouse.lock_timeout = 30
    started = time.monotonic()
    with pytest.raises(Busy), warehouse.reader("test", timeout=0.3):
        pass
    assert time.monotonic() - started < 3, "a reader waits as long as it said, not as long as a writer"
    process.kill()
    process.wait()
    assert ledger(warehouse) == []


def test_a_file_that_is_no_warehouse_gives_a_sentence(warehouse) -> None:
    warehouse.path.parent.mkdir(parents=True)
    warehouse.path.write_bytes(b"not a database, but long enough to look at" * 100)
    started = time.monotonic()
    with pytest.raises(ClickstreamError, match="cannot be opened") as refused, warehouse.connect("test"):
        pass
    assert time.monotonic() - started < 1 and "\n" not in str(refused.value)
