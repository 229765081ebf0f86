"""The Redshift twin does what tests of loads and models rely on, with the real driver, dbt and S3 server."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redshift_connector.error import Error, ProgrammingError

from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, TEXT, Column
from clickstream_assets.storage.lake import Lake
from clickstream_assets_tests import redshift
from clickstream_assets_tests import redshift_statements as statements
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.servers import S3Server
from clickstream_assets_tests.storage.test_warehouse import into_lake

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("number", pa.int64()),
        ("amount", pa.decimal128(12, 2)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
DDL = "name varchar(20), number bigint encode az64, amount decimal(12,2), day date, at timestamptz"
ROWS: list[dict[str, Any]] = [
    {
        "name": 'it\'s "ä",\nline 2',
        "number": 2**63 - 1,
        "amount": Decimal("9999999999.99"),
        "day": date(1969, 12, 31),
        "at": datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
    },
    {"name": "", "number": -1, "amount": Decimal("-0.01"), "day": None, "at": None},
    {"name": None, "number": None, "amount": None, "day": None, "at": datetime(1, 1, 1, tzinfo=UTC)},
]


@pytest.fixture(scope="module")
def twin(s3: S3Server) -> Iterator[Twin]:
    with redshift.redshift(s3) as twin:
        yield twin


@dataclass(frozen=True)
class Store:
    """A prefix, ``folder``, of a bucket with Parquet files to load."""

    client: Any
    bucket: str
    folder: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.folder}"

    def _put(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{self.folder}/{name}", Body=content)

    def put(self, name: str, table: pa.Table) -> dict[str, Any]:
        """Write a Parquet file; its entry in a manifest."""
        sink = io.BytesIO()
        pq.write_table(table, sink)
        self._put(name, sink.getvalue())
        meta = {"content_length": len(sink.getvalue())}
        return {"url": f"{self.url}/{name}", "mandatory": True, "meta": meta}

    def copy(self, *entries: dict[str, Any], target: str = "shop.events", options: str = "") -> str:
        """Write a manifest; the COPY of its files."""
        self._put("manifest", json.dumps({"entries": entries}).encode())
        return (
            f"copy {target} from '{self.url}/manifest' iam_role 'arn:aws:iam::123456789012:role/copy' "
            f"format as parquet manifest {options}"
        )


@pytest.fixture
def store(twin: Twin, s3: S3Server) -> Store:
    return Store(twin.s3, s3.bucket, uuid.uuid4().hex)


@pytest.fixture
def connection(twin: Twin) -> Iterator[Any]:
    """A connection in whose database ``shop.events`` exists, committed and empty."""
    with twin.connect() as connection:
        run(connection, "drop schema if exists shop cascade", "create schema shop")
        run(connection, f"create table shop.events ({DDL}) diststyle key distkey(number) compound sortkey(day, at)")
        connection.commit()
        yield connection


@pytest.fixture(scope="module")
def shop(twin: Twin) -> Iterator[Any]:
    """A connection for many tests to a database in which ``shop.events`` exists."""
    with twin.connect() as connection:
        run(connection, "create schema if not exists shop", f"create table if not exists shop.events ({DDL})")
        connection.commit()
        yield connection


@pytest.fixture
def standing(shop: Any) -> Iterator[Any]:
    """The same for a test that leaves nothing behind."""
    yield shop
    shop.rollback()


def run(connection: Any, *statements: str) -> list[list[Any]]:
    """The rows of the last statement, where it has any."""
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    return [list(row) for row in cursor.fetchall()] if cursor.description else []


def count(connection: Any) -> int:
    return int(run(connection, "select count(*) from shop.events")[0][0])


def refused(connection: Any, statement: str) -> dict[str, str]:
    """The fields of the error that a statement ends in."""
    with pytest.raises(ProgrammingError) as caught:
        run(connection, statement)
    fields = caught.value.args[0]
    assert isinstance(fields, dict)
    return fields


def closed_door(twin: Twin) -> str:
    """The error of a connection that fails; the driver leaves its socket to the garbage collector."""
    try:
        twin.connect()
    except Error as error:
        text = str(error)
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
    return text


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows or ROWS), SCHEMA)


def test_only_the_password_opens_the_door(twin: Twin) -> None:
    with twin.connect() as connection:
        assert run(connection, "select current_user, current_database()") == [[twin.user, twin.database]]
    assert "authentication failed" in closed_door(replace(twin, password="wrong"))


def test_parameters_are_bound_and_come_back(connection: Any) -> None:
    values = ("it's", 2**40, Decimal("12.30"), date(2024, 2, 29), ROWS[0]["at"])
    connection.cursor().execute("insert into shop.events values (%s, %s, %s, %s, %s)", values)
    assert run(connection, "select * from shop.events") == [list(values)]


def test_a_transaction_is_all_or_nothing_and_an_error_blocks_it_until_rollback(twin: Twin, connection: Any) -> None:
    run(connection, "insert into shop.events (number) values (1)")
    assert refused(connection, "select no_such_column")["C"] == "42703"
    assert refused(connection, "select 1")["C"] == "25P02"
    connection.rollback()
    assert count(connection) == 0
    run(connection, "insert into shop.events (number) values (2)")
    with twin.connect() as other:
        assert count(other) == 0
        other.rollback()
        connection.commit()
        assert count(other) == 1


def test_an_isolated_transaction_sees_one_snapshot_that_is_taken_after_its_locks(twin: Twin) -> None:
    with twin.fresh_database() as name:
        twin.isolate(name)
        apart = replace(twin, database=name)
        with apart.connect() as first, apart.connect() as second:
            run(first, "create table numbers (number int)")
            first.commit()

            def add(number: int) -> None:
                run(second, f"insert into numbers values ({number})")
                second.commit()

            def seen() -> int:
                return int(run(first, "select count(*) from numbers")[0][0])

            run(first, "select count(*) from information_schema.tables")
            add(1)
            assert seen() == 1, "the catalog was no reason for a snapshot"
            add(2)
            assert seen() == 1
            first.rollback()
            assert seen() == 2
            run(second, "update numbers set number = number + 1")
            second.commit()
            assert refused(first, "delete from numbers")["M"] == "1023"
            first.rollback()
            assert seen() == 2


def test_two_statements_at_once_are_refused(standing: Any) -> None:
    assert "multiple commands" in refused(standing, "select 1; select 2")["M"]


def test_in_a_transaction_that_failed_everything_fails_the_same_way(twin: Twin, standing: Any, store: Store) -> None:
    create = f"create external schema x from data catalog database 'd' {ROLE}"
    for statement in ("select array[1]", "select no_such_column", store.copy(), "copy shop.events from stdin"):
        assert refused(standing, statement)["C"] != "25P02"
        for then in ("select 1", "select array[1]", "truncate shop.events", store.copy(), create, "copy x from stdin"):
            assert refused(standing, then)["C"] == "25P02", (statement, then)
        standing.commit()
        assert run(standing, "select 1") == [[1]], "what committed rolled back, and the connection goes on"
        standing.rollback()


def test_a_client_that_is_gone_has_done_nothing(twin: Twin, standing: Any) -> None:
    before = count(standing)
    standing.rollback()
    gone = twin.connect()
    run(gone, "insert into shop.events (number) values (1)", "lock shop.events")
    os.close(gone._usock.detach())
    run(standing, "set statement_timeout = 10000", "lock shop.events")
    assert count(standing) == before


def test_a_query_is_cancelled_by_its_key(twin: Twin, standing: Any) -> None:
    run(standing, "lock shop.events")
    with twin.connect() as other:
        key = other._backend_key_data
        failed: list[dict[str, str]] = []
        waiting = threading.Thread(target=lambda: failed.append(refused(other, "select count(*) from shop.events")))
        waiting.start()
        end = time.monotonic() + 10
        while run(standing, "select count(*) from pg_locks where not granted") == [[0]] and time.monotonic() < end:
            time.sleep(0.01)
        with socket.create_connection((twin.host, twin.port)) as canceller:
            canceller.sendall(struct.pack("!ii", 8 + len(key), 80877102) + key)
        waiting.join(10)
        assert [error["C"] for error in failed] == ["57014"]
        other.rollback()


def test_a_copy_loads_exactly_what_the_manifest_lists(connection: Any, store: Store) -> None:
    store.put("stray.parquet", table(ROWS[0]))
    entries = [store.put("1.parquet", table(*ROWS[:2])), store.put("2.parquet", table(ROWS[2]))]
    run(connection, store.copy(*entries))
    connection.commit()
    loaded = run(connection, "select * from shop.events order by number nulls last")
    expected = [list(row.values()) for row in (ROWS[1], ROWS[0], ROWS[2])]
    assert loaded == expected, "to the microsecond and the cent, with null and empty text apart"


def test_a_copy_is_part_of_the_transaction(twin: Twin, connection: Any, store: Store) -> None:
    entry = store.put("1.parquet", table())
    run(connection, "create temp table stage (like shop.events)", store.copy(entry, target="stage"))
    run(connection, "insert into shop.events select * from stage")
    with twin.connect() as other:
        assert (count(connection), count(other)) == (3, 0)
    connection.rollback()
    assert count(connection) == 0


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"meta": {"content_length": 1}}, "content_length 1"),
        ({"meta": {}}, "no meta.content_length"),
        ({"url": "{store}/missing.parquet"}, "mandatory file"),
        ({"url": "{store}/missing.parquet", "mandatory": False}, "None of the files"),
    ],
)
def test_a_manifest_that_is_not_true_is_refused(
    connection: Any, store: Store, entry: dict[str, Any], reason: str
) -> None:
    entry = store.put("1.parquet", table()) | entry
    entry["url"] = entry["url"].format(store=store.url)
    error = refused(connection, store.copy(entry))
    assert (error["C"], error["M"]) == ("XX000", "Spectrum Scan Error") and reason in error["D"]
    assert refused(connection, "select 1")["C"] == "25P02", "the transaction is lost, as with any error"


def test_a_file_that_need_not_be_there_is_passed_over(connection: Any, store: Store) -> None:
    there = store.put("1.parquet", table())
    run(connection, store.copy({**there, "url": f"{store.url}/missing", "mandatory": False}, there))
    assert count(connection) == 3


WRONG = {
    "a column too many": (table().append_column("more", pa.array([1, 2, 3])), 15007, "", "Data columns: 6"),
    "a column too few": (table().drop_columns(["at"]), 15007, "", "Data columns: 4"),
    "another order": (table().select(["number", "name", "amount", "day", "at"]), 15001, "name", "incompatible Parquet"),
    "another scale": (
        table().set_column(2, "amount", pa.array([1, 2, 3], pa.decimal128(12, 3))), 15001, "amount", "NUMERIC(12,2)",
    ),
    "nanoseconds": (
        table(ROWS[0]).set_column(4, "at", pa.array([1], pa.timestamp("ns", "UTC"))), 15001, "at", "timestamp[ns",
    ),
    "a text of 21 bytes": (table({"name": "ä" * 10 + "x"}), 15001, "name", "Table: 20, Data: 21"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_does_not_fit_is_refused_and_told_after_the_rollback(
    connection: Any, store: Store, case: str
) -> None:
    content, code, column, reason = WRONG[case]
    entries = [store.put("1.parquet", table()), store.put("2.parquet", content)]
    before = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
    error = refused(connection, store.copy(*entries))
    assert f"code:      {code}" in error["D"] and reason in error["D"]
    connection.rollback()
    assert count(connection) == 0, "the file before it went with the transaction"
    ((name, *told),) = run(
        connection,
        "select trim(file_name), trim(column_name), error_code, trim(error_message), "
        "table_id = 'shop.events'::regclass::oid::int from sys_load_error_detail "
        f"where start_time >= '{before}' and file_name like '{store.url}/%'",
    )
    assert name == f"{store.url}/2.parquet" and told[:2] == [column, code] and reason in told[2] and told[3]


def test_a_row_that_the_table_does_not_take_is_told_too(connection: Any, store: Store) -> None:
    run(connection, "create table shop.strict (name varchar(20) not null)")
    connection.commit()
    entry = store.put("1.parquet", table().select(["name"]))
    assert refused(connection, store.copy(entry, target="shop.strict"))["C"] == "23502"
    connection.rollback()
    told = run(connection, f"select error_message from sys_load_error_detail where file_name like '{store.url}/%'")
    assert "not-null" in told[0][0]


def test_a_copy_of_its_own_is_all_or_nothing_too(connection: Any, store: Store) -> None:
    connection.autocommit = True
    good, bad = store.put("1.parquet", table()), store.put("2.parquet", WRONG["a column too few"][0])
    assert refused(connection, store.copy(good, bad))["M"] == "Spectrum Scan Error"
    assert count(connection) == 0
    run(connection, store.copy(good))
    assert count(connection) == 3


def test_fillrecord_fills_what_is_missing_at_the_end(connection: Any, store: Store) -> None:
    old, new = table(ROWS[0]).drop_columns(["day", "at"]), table(ROWS[1])
    entries = [store.put("old.parquet", old), store.put("new.parquet", new)]
    run(connection, store.copy(*entries, options="fillrecord"))
    assert run(connection, "select number, at from shop.events order by number") == [[-1, None], [2**63 - 1, None]]


def test_a_list_of_columns_says_where_the_positions_go(connection: Any, store: Store) -> None:
    entry = store.put("1.parquet", table(ROWS[0]).select(["number", "name"]))
    run(connection, store.copy(entry, target="shop.events (number, name)"))
    assert run(connection, "select name, number, at from shop.events") == [[ROWS[0]["name"], 2**63 - 1, None]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("format parquet manifest", "IAM_ROLE"),
        ("iam_role 'arn:aws:iam::123456789012:role/copy' format parquet", "MANIFEST"),
        ("iam_role 'arn:aws:iam::123456789012:role/copy' manifest csv", "CSV"),
        ("access_key_id 'made-up' secret_access_key 'made-up' format parquet manifest", "ACCESS_KEY_ID"),
        ("iam_role 'arn:aws:iam::123456789012:role/copy' format parquet manifest maxerror 5", "MAXERROR"),
        ("iam_role 'arn:aws:iam::123456789012:role/copy' format parquet manifest region 'eu-central-1'", "REGION"),
    ],
)
def test_a_copy_by_other_means_is_refused(connection: Any, options: str, reason: str) -> None:
    error = refused(connection, f"copy shop.events from 's3://bucket/manifest' {options}")
    assert reason in error["M"] and "made-up" not in str(error)


REFUSED = [
    ("insert into shop.events (number) values (1) on conflict do nothing", "ON CONFLICT"),
    ("delete from shop.events returning number", "RETURNING"),
    ("with x as (select 1 as n) insert into shop.events (number) select n from x", "WITH before INSERT"),
    ("select distinct on (day) * from shop.events", "DISTINCT ON"),
    ("select * from shop.events tablesample system (10)", "TABLESAMPLE"),
    ("select * from shop.events e, lateral (select e.number) n", "LATERAL"),
    ("select * from unnest(string_to_array('a', 'b')) with ordinality", "WITH ORDINALITY"),
    ("select count(*) filter (where number > 1) from shop.events", "FILTER"),
    ("with gone as (delete from shop.events) select 1", "a change within WITH"),
    ("with x as materialized (select 1) select * from x", "AS MATERIALIZED"),
    ("select * from shop.events fetch first 2 rows only", "FETCH FIRST"),
    ("select * from shop.events for update", "FOR UPDATE"),
    ("select sum(number) over w from shop.events window w as (order by day)", "WINDOW"),
    ("select 1 except all select 2", "EXCEPT ALL"),
    ("select sum(number) over (order by day range between 1 preceding and current row) from shop.events", "RANGE"),
    ("select sum(number) over (order by day rows 1 preceding exclude ties) from shop.events", "EXCLUDE"),
    ("select * from (values (1), (2)) v", "VALUES"),
    ("with x (n) as (values (1)) select * from x", "VALUES"),
    ("select 1 union all values (2)", "VALUES"),
    ("values (1), (2)", "command"),
    ("select array[1, 2]", "array"),
    ("create table shop.a (x int[])", "array"),
    ("select row(1, 2)", "row constructor"),
    ('select name collate "C" from shop.events', "COLLATE"),
    ("create index i on shop.events (number)", "index"),
    ("create sequence shop.s", "sequence"),
    ("create trigger t before insert on shop.events execute function f()", "trigger"),
    ("create or replace constraint trigger t after insert on shop.events execute function f()", "trigger"),
    ("create table shop.a (x int) tablespace pg_default", "tablespace"),
    ("create table shop.a (x int) partition by range (x)", "partitioning"),
    ("create table shop.a partition of shop.events default", "partitioning"),
    ("create table shop.a (y int) inherits (shop.events)", "inheritance"),
    ("create table shop.a (x int check (x > 0))", "CHECK"),
    ("alter table shop.events add constraint c check (number > 0)", "CHECK"),
    ("create unlogged table shop.a (x int)", "UNLOGGED"),
    ("create table shop.a (x int, y int generated always as (x + 1) stored)", "GENERATED ALWAYS"),
    ("create temp table a (x int) on commit drop", "ON COMMIT"),
    ("create table shop.a (like shop.events including all)", "INCLUDING ALL"),
    ("create temporary view v as select 1", "temporary view"),
    ("alter table shop.events add column if not exists x int", "IF [NOT] EXISTS of a column"),
    ("alter table shop.events drop column if exists x", "IF [NOT] EXISTS of a column"),
    ("alter table shop.events alter column number type decimal(20,0)", "no VARCHAR"),
    ("alter table shop.events alter number set not null", "SET or DROP"),
    ("alter table shop.events set schema public", "SET SCHEMA"),
    ("alter table shop.events add column x decimal(12,2), add column y int", "a second column"),
    ("create table shop.a (x int, id bigserial)", "SERIAL"),
    ("create table shop.a (x jsonb)", "type"),
    ("select '{}'::json", "type"),
    ("select cast(name as jsonb) from shop.events", "type"),
    ("create table shop.a (x uuid)", "type"),
    ("create table shop.a (x bit varying(3))", "type"),
    ("select string_agg(name, ',') from shop.events", "function"),
    ("insert into shop.events (number) select generate_series(1, 3)", "function"),
    ("select pg_catalog.regexp_matches(name, 'x') from shop.events", "function"),
    ("select pg_advisory_lock(1)", "function"),
    ("select 1 where 1 is distinct from 2", "IS DISTINCT FROM"),
    ("select extract(isodow from day) from shop.events", "ISODOW"),
    ("explain analyze select 1", "EXPLAIN ANALYZE"),
    ("explain (costs off) select 1", "EXPLAIN ANALYZE"),
    ("merge into shop.events e using shop.events s on e.day = s.day when matched then delete", "alias"),
    ("merge into shop.events using (select 1 as n) s on number = n when matched then delete", "subquery"),
    ("merge into shop.events using shop.s on number = n when matched and n > 1 then delete", "condition"),
    ("merge into shop.events using shop.s on number = n when not matched then do nothing", "DO NOTHING"),
    ("with x as (select 1) merge into shop.events using shop.s on number = n when matched then delete", "WITH"),
    ("delete from shop.events e where e.number = 1", "alias"),
    ('delete from "shop"."events" as e', "alias"),
    ("truncate shop.events, shop.other", "TRUNCATE"),
    ("truncate table shop.events cascade", "TRUNCATE"),
    ("update shop.events set number = 1 from shop.a left join shop.b on a.x = b.x where a.x = number", "outer join"),
    ("savepoint s", "command"),
    ("do 'begin end'", "command"),
    ("create type shop.mood as enum ('a')", "command"),
    ("create domain shop.d as int", "command"),
    ("create extension file_fdw", "command"),
    ("listen x", "command"),
    ("copy shop.events from stdin", "COPY"),
]


@pytest.mark.parametrize(("statement", "name"), REFUSED)
def test_what_redshift_lacks_is_refused_by_name(standing: Any, statement: str, name: str) -> None:
    error = refused(standing, statement)
    assert error["C"] == "0A000" and name in error["M"]
    assert error["D"].startswith("See https://docs.aws.amazon.com/redshift/latest/dg/")
    assert refused(standing, "select 1")["C"] == "25P02"


def test_words_in_literals_names_and_comments_are_only_words(connection: Any) -> None:
    ((text, name),) = run(
        connection,
        "-- on conflict, array[1]\n"
        "/* select distinct on (x) /* fetch first */ returning */ "
        "select e'\\'array[1]' || 'on conflict ''returning'' x::jsonb sortkey(x) varchar(max) array[1]', "
        '1 as "tablesample["',
    )
    assert text == "'array[1]on conflict 'returning' x::jsonb sortkey(x) varchar(max) array[1]" and name == 1


@pytest.mark.parametrize(
    "statement",
    [
        "insert into shop.events (number) with x as (select 1 as n) select n from x",
        "with recursive x (n) as (select 1 union all select n + 1 from x where n < 3) select * from x",
        "select 1 as encode, 2 as format, 3 as corr, 4 as every, 5 as share, 6 as ties, 7 as groups",
        "select sum(number) over (order by at rows between 1 preceding and current row) from shop.events",
        "select * from shop.events order by number nulls first limit 2 offset 1",
        "select number from shop.events where number in (1, 2) union all select 3 intersect select 3",
        "select * from (select 1 as values_ union select 2) v",
        "create table shop.a (id int primary key, uuid_text varchar(36), checked varchar(1), bit_count int)",
        "create temp table a (like shop.events including defaults)",
        "create table shop.a as select 1 as inherited, 2 as partition_by",
        "alter table shop.events add column x decimal(12,2)",
        "alter table shop.events drop column amount",
        "alter table shop.events rename column amount to jsonb",
        "explain select * from shop.events",
        "explain verbose select 1",
        "delete from shop.events where number = 1",
        "delete from shop.events using shop.events e where e.number = events.number",
        "delete from shop.events",
        "update shop.events e set number = 1 from (select 1 as n from shop.events left join (select 2) y on true) x",
        "update shop.events set number = 2 where number in (select 1 from shop.events left join (select 2) y on true)",
        "merge into shop.events using shop.events s on events.number = s.number when matched then delete",
        "lock shop.events",
        "declare c cursor for select 1",
        "create view shop.v as select 'do' as type, 'savepoint' as listen",
        "set timezone to 'UTC'",
        "comment on table shop.events is 'do (values) x'",
    ],
)
def test_what_only_looks_like_it_is_let_through(standing: Any, statement: str) -> None:
    run(standing, statement)


def test_every_refusal_says_where_aws_says_so() -> None:
    refusals = (*statements.REFUSALS, *statements.OUTER_REFUSALS, *statements.ALONE)
    assert all(re.fullmatch(re.escape(statements.GUIDE) + r"[\w-]+\.html", source) for _, _, source in refusals)
    parts = [statement for statement, _ in REFUSED] + ["vacuum", "alter table x alter column y type varchar(3)"]
    untried = [
        name
        for name, pattern, _ in refusals
        if not any(re.search(pattern, statements.masked(part), statements.FLAGS) for part in parts)
    ]
    assert not untried


@pytest.mark.parametrize(
    "statement", ["alter table shop.events alter column name type varchar(30)", "vacuum shop.events"]
)
def test_what_may_not_be_part_of_a_transaction_is_refused_within_one(connection: Any, statement: str) -> None:
    error = refused(connection, statement)
    assert error["C"] == "25001" and "transaction block" in error["M"]
    connection.rollback()
    connection.autocommit = True
    run(connection, statement)


def test_truncate_commits_what_was_before_it(twin: Twin, connection: Any) -> None:
    """https://docs.aws.amazon.com/redshift/latest/dg/r_TRUNCATE.html"""
    run(connection, "insert into shop.events (number) values (1)")
    connection.commit()
    run(connection, "create table shop.other as select 1 as one", "truncate table shop.events")
    connection.rollback()
    assert count(connection) == 0
    assert run(connection, "select one from shop.other") == [[1]]


def test_tables_and_views_are_made_as_redshift_makes_them(connection: Any) -> None:
    run(
        connection,
        "create table shop.a (x varchar, y varchar(max) encode zstd, z text not null) backup no diststyle all",
        "create table shop.b distkey(x) interleaved sortkey(x, y) as select * from shop.a",
        "create view shop.v as (select x from shop.a) with no schema binding",
    )
    lengths = run(
        connection,
        "select column_name, character_maximum_length from information_schema.columns "
        "where table_schema = 'shop' and table_name = 'a' order by ordinal_position",
    )
    assert lengths == [["x", 256], ["y", 65535], ["z", 256]]


def test_functions_that_postgres_lacks(connection: Any) -> None:
    first, last = "timestamptz '2023-12-31 23:59:59.999999'", "timestamptz '2024-01-01 00:00:00'"
    parts = ", ".join(f"datediff({p}, {first}, {last})" for p in ("'microsecond'", "second", "day", "month", "year"))
    assert run(connection, f"select {parts}, nvl(null, 7)") == [[1, 1, 1, 1, 1, 7]]
    ((now,),) = run(connection, "select getdate()")
    assert abs(now - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_not_committed_when_the_connection_broke_is_gone(
    twin: Twin, connection: Any, store: Store, restart: bool
) -> None:
    run(connection, "insert into shop.events (number) values (1)")
    connection.commit()
    run(connection, store.copy(store.put("1.parquet", table())))
    if restart:
        twin.stop()
        assert "communication error" in closed_door(twin)
        twin.start()
    else:
        twin.kill_connections()
    with pytest.raises(Error):
        connection.commit()
    with twin.connect() as other:
        assert count(other) == 1


def test_a_planned_error_comes_once(twin: Twin, connection: Any) -> None:
    twin.fail_next(r"^insert into shop\.events")
    assert count(connection) == 0
    statement = "insert into shop.events (number) values (1)"
    error = refused(connection, statement)
    assert (error["C"], error["M"]) == ("XX000", "1023")
    assert error["D"].startswith("Serializable isolation violation on table")
    connection.rollback()
    run(connection, statement)
    twin.fail_next("^commit")
    with pytest.raises(ProgrammingError, match="1023"):
        connection.commit()
    connection.rollback()
    assert count(connection) == 0


ROLE = "iam_role 'arn:aws:iam::123456789012:role/spectrum'"
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


@pytest.fixture
def lake(on_glue: None, s3_root: str, tmp_path: Path) -> Lake:
    """A lake in a bucket whose tables the Glue catalog knows."""
    return Home(tmp_path / "home", {"CLICKSTREAM_LAKE_URI": s3_root, "CLICKSTREAM_CATALOG": "glue"}).platform.lake


@pytest.fixture
def spectrum(lake: Lake, connection: Any) -> Iterator[Any]:
    """A connection to a database in which ``spectrum`` is the lake's raw tables, of which one is published."""
    into_lake(lake, {MONDAY: "ab", TUESDAY: "c"}, ECOMMERCE_RAW)
    run(connection, f"create external schema spectrum from data catalog database 'ecommerce_raw' {ROLE}")
    connection.commit()
    yield connection
    connection.rollback()
    run(connection, "drop schema if exists spectrum")
    connection.commit()


def raw(connection: Any, relation: str = "spectrum.events_raw") -> list[str]:
    return [user for (user,) in run(connection, f"select userid from {relation} order by 1")]


def test_a_table_of_the_catalog_has_its_columns_types_and_rows(lake: Lake, spectrum: Any) -> None:
    into_lake(lake, {MONDAY: "ab"})
    run(
        spectrum,
        "/* both */ create external schema if not exists cleaned\nfrom data catalog -- Glue\n"
        f"database 'ecommerce_cleaned' {ROLE} region 'eu-central-1';",
    )
    columns = "user_id, amount, event_timestamp, ingestion_date, source_line"
    found = run(spectrum, f"select {columns} from cleaned.events_cleaned order by user_id")
    published = lake.snapshot(ECOMMERCE_CLEANED).files[0].uri
    rows = pq.ParquetFile(lake.files.open_random(lake.files.relative(published))).read(columns.split(", ")).to_pylist()
    assert found == [list(row.values()) for row in rows] and len(rows) == 2
    assert isinstance(found[0][1], Decimal) and isinstance(found[0][2], datetime)
    # the driver knows types by number: bigint, date, numeric, varchar, timestamptz
    cursor = spectrum.cursor()
    cursor.execute("select source_line, ingestion_date, amount, user_id, event_timestamp from cleaned.events_cleaned")
    assert [column[1] for column in cursor.description] == [20, 1082, 1700, 1043, 1184]
    cursor.execute("select * from spectrum.events_raw")
    names = [name.decode() if isinstance(name, bytes) else name for name, *_ in cursor.description]
    assert names == [column.name.lower() for column in ECOMMERCE_RAW.columns]
    run(spectrum, "drop schema cleaned restrict")


@pytest.mark.parametrize("name", ["spectrum.events_raw", '"spectrum"."events_raw"', "SPECTRUM . Events_Raw e"])
def test_what_is_published_meanwhile_is_read_in_the_same_transaction(lake: Lake, spectrum: Any, name: str) -> None:
    assert raw(spectrum, name) == ["a", "b", "c"]
    into_lake(lake, {MONDAY: "x", TUESDAY: ""}, ECOMMERCE_RAW)
    assert raw(spectrum, name) == ["x"], "the statement is prepared already, and sees the new snapshot"
    into_lake(lake, {MONDAY: ""}, ECOMMERCE_RAW)
    assert raw(spectrum, f"(select * from {name})") == []


def test_a_column_that_the_catalog_gets_is_there_and_views_stay(lake: Lake, spectrum: Any) -> None:
    view = "create view shop.raw as select userid, sessionid from spectrum.events_raw"
    assert "NO SCHEMA BINDING" in refused(spectrum, view)["M"]
    spectrum.rollback()
    run(spectrum, f"{view} with no schema binding", "create view shop.again as select * from shop.raw")
    spectrum.commit()
    wider = replace(ECOMMERCE_RAW, columns=(*ECOMMERCE_RAW.columns, Column("Channel", TEXT, "New.")))
    into_lake(lake, {MONDAY: "z", TUESDAY: ""}, wider)
    assert raw(spectrum, "shop.again") == ["z"], "of which the statement does not name the external table"
    assert run(spectrum, "select channel from spectrum.events_raw") == [[None]]


def test_a_text_is_cut_off_where_redshift_cuts_it_off(lake: Lake, spectrum: Any) -> None:
    into_lake(lake, {MONDAY: ["ä" * 16385, ""], TUESDAY: ""}, ECOMMERCE_RAW)
    assert raw(spectrum) == ["", "ä" * 16384]


def test_the_catalog_of_external_tables_is_shown_where_redshift_shows_it(lake: Lake, spectrum: Any) -> None:
    schemas = "select schemaname, databasename, esoptions from svv_external_schemas"
    ((schema, database, options),) = run(spectrum, schemas)
    assert (schema, database) == ("spectrum", "ecommerce_raw")
    assert json.loads(options) == {"IAM_ROLE": "arn:aws:iam::123456789012:role/spectrum"}
    tables = "select schemaname, tablename, tabletype, location from svv_external_tables order by 1, 2"
    location = lake.files.uri(lake.folder(ECOMMERCE_RAW))
    assert run(spectrum, tables) == [["spectrum", "events_raw", "TABLE", location]]
    other = dataclasses.replace(ECOMMERCE_RAW, lake="ecommerce_raw.other")
    into_lake(lake, {MONDAY: "a"}, other)
    assert [name for _, name, *_ in run(spectrum, tables)] == ["events_raw", "other"]
    columns = run(
        spectrum,
        "select columnname, external_type, part_key from svv_external_columns where tablename = 'events_raw' "
        "order by columnnum",
    )
    assert columns[0] == ["userid", "character varying(16384)", 0] and columns[-1] == ["ingestion_date", "date", 1]
    assert len(columns) == len(ECOMMERCE_RAW.columns)
    assert raw(spectrum) == ["a", "b", "c"]
    for hidden in ("information_schema.tables", "information_schema.columns"):
        assert run(spectrum, f"select count(*) from {hidden} where table_schema = 'spectrum'") == [[0]]
        assert run(spectrum, f"select count(*) > 0 from {hidden} where table_schema = 'shop'") == [[True]]
    assert run(spectrum, "select count(*) from pg_tables where schemaname = 'spectrum'") == [[0]]


def test_an_external_schema_comes_and_goes_with_its_transaction(twin: Twin, lake: Lake, connection: Any) -> None:
    create = f"create external schema spectrum from data catalog database 'ecommerce_raw' {ROLE}"
    into_lake(lake, {MONDAY: "a"}, ECOMMERCE_RAW)
    for _ in range(2):
        run(connection, create)
        assert raw(connection) == ["a"], "before anybody else sees the schema"
        with twin.connect() as other:
            assert run(other, "select count(*) from svv_external_schemas") == [[0]]
        connection.rollback()
    assert refused(connection, "select * from spectrum.events_raw")["C"] == "42P01"
    connection.rollback()
    run(connection, create)
    connection.commit()
    assert refused(connection, create)["C"] == "42P06"
    connection.rollback()
    run(connection, create.replace("schema", "schema if not exists", 1).replace("_raw", "_cleaned"))
    assert run(connection, "select databasename from svv_external_schemas") == [["ecommerce_raw"]]
    assert raw(connection) == ["a"]
    run(connection, "drop schema spectrum")
    assert refused(connection, "select * from spectrum.events_raw")["C"] == "42P01"
    connection.rollback()
    assert raw(connection) == ["a"]
    run(connection, "drop schema if exists spectrum cascade")
    connection.commit()
    run(connection, "drop schema if exists spectrum")
    assert refused(connection, "drop schema spectrum")["C"] == "3F000"


def test_a_table_that_the_catalog_has_not_is_not_there(lake: Lake, spectrum: Any) -> None:
    assert refused(spectrum, "select * from spectrum.no_such_table")["C"] == "42P01"
    spectrum.rollback()
    assert raw(spectrum) == ["a", "b", "c"]
    spectrum.rollback()
    lake._catalog.drop_table(ECOMMERCE_RAW.lake)
    assert refused(spectrum, "select * from spectrum.events_raw")["C"] == "42P01"
    spectrum.rollback()
    assert run(spectrum, "select * from svv_external_tables") == []


def test_a_transaction_that_may_only_read_may_not_read_external_tables(lake: Lake, spectrum: Any) -> None:
    """As reported of Redshift, which writes down what it learns of such a table."""
    run(spectrum, "create view shop.raw as select userid from spectrum.events_raw with no schema binding")
    spectrum.commit()
    spectrum.autocommit = True
    for relation in ("spectrum.events_raw", "shop.raw"):
        run(spectrum, "begin read only")
        assert run(spectrum, "select count(*), 'spectrum.events_raw' from shop.events")[0][0] == 0
        assert run(spectrum, "select count(*) from svv_external_tables") == [[1]]
        assert "transaction is read-only" in refused(spectrum, f"select * from {relation}")["M"]
        run(spectrum, "rollback")
        assert raw(spectrum, relation) == ["a", "b", "c"]
    spectrum.autocommit = False


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("from data catalog database 'd'", "needs IAM_ROLE"),
        (f"from data catalog {ROLE}", "needs DATABASE"),
        (f"from data catalog database 'd' access_key_id 'made-up' {ROLE}", "ACCESS_KEY_ID"),
        ("from data catalog database 'd' credentials 'aws_access_key_id=made-up'", "CREDENTIALS"),
        ("from data catalog database 'd' iam_role 'made-up'", "IAM_ROLE"),
        (f"from data catalog database 'd' {ROLE} format parquet", "FORMAT"),
        (f"from data catalog database 'd' {ROLE} create external database if not exists", "CREATE"),
        (f"from hive metastore database 'd' uri 'here' {ROLE}", "DATA CATALOG only"),
    ],
)
def test_an_external_schema_by_other_means_is_refused(connection: Any, statement: str, reason: str) -> None:
    error = refused(connection, f"create external schema wrong {statement}")
    assert reason in error["M"] and "made-up" not in str(error)


def test_external_tables_are_not_changed(lake: Lake, spectrum: Any, store: Store) -> None:
    for statement in (
        "insert into spectrum.events_raw (userid) values ('z')",
        'delete from "spectrum".events_raw',
        "update spectrum.events_raw set userid = 'z'",
        "truncate spectrum.events_raw",
        "drop table if exists spectrum.events_raw",
        "alter table spectrum.events_raw add column x int",
        "create table spectrum.mine as select 1 as x",
        "create view spectrum.mine as select 1 as x",
        store.copy(store.put("1.parquet", table()), target="spectrum.events_raw"),
    ):
        assert "external table is not changed" in refused(spectrum, statement)["M"], statement
        spectrum.rollback()
    assert "drops no database" in refused(spectrum, "drop schema spectrum drop external database cascade")["M"]
    spectrum.rollback()
    run(spectrum, "create table shop.users as select userid from spectrum.events_raw")
    run(spectrum, "delete from shop.users using spectrum.events_raw e where users.userid = e.userid and e.userid > 'a'")
    assert run(spectrum, "select *, 'insert into spectrum.events_raw' from shop.users")[0][0] == "a"
    assert raw(spectrum) == ["a", "b", "c"]


PROJECT = {
    "dbt_project.yml": """
        name: tiny
        profile: tiny
        flags: {send_anonymous_usage_stats: false, redshift_skip_autocommit_transaction_statements: false}
        models: {+bind: false}
        """,
    "profiles.yml": """
        tiny:
          target: redshift
          outputs:
            redshift:
              type: redshift
              method: database
              host: "{{ env_var('REDSHIFT_HOST') }}"
              port: "{{ env_var('REDSHIFT_PORT') | as_number }}"
              dbname: "{{ env_var('REDSHIFT_DATABASE') }}"
              user: "{{ env_var('REDSHIFT_USER') }}"
              password: "{{ env_var('REDSHIFT_PASSWORD') }}"
              sslmode: disable
              schema: tiny
              threads: 2
        """,
    "models/numbers.sql": "select 1 as number, cast('2024-01-01' as date) as day",
    "models/grown.sql": """
        {{ config(materialized='incremental', incremental_strategy='append', dist='number', sort=['day']) }}
        select * from {{ ref('numbers') }}
        """,
    "models/models.yml": """
        models: [{name: grown, columns: [{name: number, data_tests: [not_null]}]}]
        """,
}


def test_dbt_builds_a_view_and_appends_to_a_table(twin: Twin, tmp_path: Path) -> None:
    for name, content in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(content))
    command = [str(Path(sys.executable).with_name("dbt")), "build", "--project-dir", ".", "--profiles-dir", "."]
    for rows in (1, 2):
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | twin.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout
        with twin.connect() as connection:
            assert run(connection, "select number, count(*) from tiny.grown group by number") == [[1, rows]]
