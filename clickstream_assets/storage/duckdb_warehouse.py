"""The warehouse as a DuckDB file, which shows the lake as views and holds what dbt builds.

DuckDB lets one process at a time open a file for writing, and then no other process read it. A lock file beside it,
released by the kernel when its holder dies, makes everybody wait in line, and a note says who holds it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import Busy, ClickstreamError, QueryRefused
from clickstream_assets.storage.locks import process_lock
from clickstream_assets.storage.s3 import S3
from clickstream_assets.storage.warehouse import Result, Row, Transaction, Warehouse, identifier

if TYPE_CHECKING:
    import duckdb

    from clickstream_assets.schemas import Table
    from clickstream_assets.storage.lake import Lake, Snapshot

#: what stands before the statement that is explained; EXPLAIN ANALYZE runs it, be it COPY … TO a file
_EXPLAIN = re.compile(
    r"\A(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*explain\s+(?:analyze\b)?\s*(?:\([^)]*\))?", re.IGNORECASE
)

#: no extension is ever fetched: a run needs no network, and a view must not load code
CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # a relation that does not exist is an error, not a variable of this program that happens to have its name
    "python_enable_replacements": "false",
}

#: relations that the pipeline keeps about itself; counts are never null
_OPS = """
create schema if not exists ops;
create table if not exists ops.row_ledger (
    asset varchar not null, partition_date date not null, run_id varchar not null,
    rows_in bigint not null, rows_out bigint not null, rejected bigint not null,
    duplicate bigint not null, late bigint not null, filtered bigint not null,
    source_snapshot bigint, recorded_at timestamptz not null,
    primary key (asset, partition_date));
create table if not exists ops.landing_files (
    path varchar not null primary key, size bigint not null, content_hash varchar not null,
    partition_date date not null, rows bigint not null, status varchar not null, run_id varchar not null);
create table if not exists ops.landing_versions (
    path varchar not null primary key, partition_date date not null, read_as varchar not null);
create table if not exists ops.run_window (domain varchar not null, partition_date date not null);
"""


class _DuckDBTransaction:
    def __init__(self, connection: duckdb.DuckDBPyConnection, loads: Collection[Table]):
        self._connection = connection
        self.loads: Collection[str] = [str(table.warehouse) for table in loads]

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        rows: list[Row] = self._connection.execute(sql, list(parameters)).fetchall()
        return rows


class DuckDBWarehouse(Warehouse):
    """The DuckDB warehouse of one home folder.

    ``lock_timeout``: seconds that a writer waits for another process. ``on_s3``: the lake's files are there.
    """

    def __init__(self, path: Path, *, lock_timeout: float, on_s3: bool = False):
        self.path = path
        self.lock_timeout = lock_timeout
        self._on_s3 = on_s3
        self._lock = process_lock(path, str(path))

    @cached_property
    def _s3(self) -> S3 | None:
        """Looked up once: it takes 0.08 s, and a run opens the warehouse twenty times."""
        return S3.find() if self._on_s3 else None

    @contextlib.contextmanager
    def locked(self, what: str, *, timeout: float | None = None) -> Iterator[None]:
        """Hold the file without opening it; the lock timeout of the settings holds unless another is given."""
        with self._lock.held(what, timeout=self.lock_timeout if timeout is None else timeout):
            yield

    def transact(self, what: str, work: Callable[[Transaction], Result], *, loads: Collection[Table] = ()) -> Result:
        """Open the file for one transaction; while it is open everything in it is that one's alone."""
        with self.connect(what) as connection:
            return work(_DuckDBTransaction(connection, loads))

    @contextlib.contextmanager
    def connect(self, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open for writing; one transaction, committed at the end and rolled back on an error."""
        with self.locked(what), contextlib.closing(self._open(read_only=False)) as connection:
            # What was committed is in the log beside the file. To write it into the file is dbt's part, which has
            # the tables open anyway: 0.03 s for each of the twenty times that a run opens a file of 4 GB.
            connection.execute("pragma disable_checkpoint_on_shutdown")
            connection.execute(_OPS)  # kept when the first transaction fails: readers count on these tables
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextlib.contextmanager
    def reader(self, what: str, *, timeout: float = 30) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open read-only; an absent warehouse is created empty first."""
        with self.locked(what, timeout=timeout):
            if not self.path.exists():
                with self.connect(what):
                    pass
            with contextlib.closing(self._open(read_only=True, timeout=timeout)) as connection:
                yield connection

    def query(self, sql: str) -> tuple[list[str], list[Row]]:
        """As of any warehouse; of several statements each has to be a query."""
        import duckdb

        with self.reader("clickstream query") as connection:
            try:
                statements = connection.extract_statements(sql)
                explained = [_EXPLAIN.sub("", s.query, count=1) for s in statements if s.type.name == "EXPLAIN"]
                inner = [s for sql in explained for s in connection.extract_statements(sql)]
                kinds = [s.type.name for s in statements if s.type.name != "EXPLAIN"] + [s.type.name for s in inner]
                for kind in kinds:
                    if kind != "SELECT":
                        raise QueryRefused(f"{kind} is not a query: only SELECT and EXPLAIN SELECT run here.")
                if not statements:
                    raise QueryRefused("The query is empty: give one SELECT.")
                for statement in statements:
                    result = connection.execute(statement)
                return [column[0] for column in result.description], result.fetchall()
            except duckdb.Error as error:
                # the lines that point into the SQL are left out: a terminal shows the SQL just above
                message = " ".join(str(error).partition("\n\nLINE")[0].split())
                raise QueryRefused(f"The query failed: {message}") from error

    def show(self, transaction: Transaction, lake: Lake, table: Table) -> None:
        """Show the lake's files of a table under its external name, if it has one."""
        if table.external:
            self._view(transaction, table.external, _select(lake.snapshot(table)))

    def show_as(self, transaction: Transaction, lake: Lake, name: str, select: str) -> None:
        """Show its files as they are now."""
        for relation in (name, f"spectrum_{name}"):
            self._view(transaction, relation, select)

    def bring(self, transaction: Transaction, lake: Lake, table: Table, days: Collection[date]) -> Snapshot:
        """Show the whole table as a view over its files: 503 of them read in 0.03 s, and no second copy."""
        snapshot = lake.snapshot(table)
        self._view(transaction, str(table.warehouse), _select(snapshot))
        return snapshot

    def _view(self, transaction: Transaction, name: str, select: str) -> None:
        schema = name.partition(".")[0]
        transaction.run(f"create schema if not exists {identifier(schema)}")
        transaction.run(f"create or replace view {identifier(name)} as {select}")

    def _open(self, *, read_only: bool, timeout: float | None = None) -> duckdb.DuckDBPyConnection:
        import duckdb

        wait = self.lock_timeout if timeout is None else timeout
        deadline = time.monotonic() + wait
        while True:
            try:
                s3 = self._s3  # first: what goes wrong with it must not leave the file open
                connection = duckdb.connect(str(self.path), read_only=read_only, config=dict(CONFIG))
                connection.execute("set TimeZone = 'UTC'")
                if s3 is not None:
                    s3.prepare(connection)
                return connection
            except duckdb.IOException as error:
                # A program that does not know the lock file, such as a BI tool, has the warehouse open.
                message = f"{self.path} cannot be opened: {' '.join(str(error).split())}"
                if "could not set lock" not in message.lower():
                    raise ClickstreamError(message) from error
                if time.monotonic() > deadline:
                    raise Busy(message) from error
                time.sleep(0.2)


def _select(snapshot: Snapshot) -> str:
    """SQL that reads the snapshot's files; the day is read from the path, so other days' files are not opened."""
    table = snapshot.table
    if not snapshot.files:
        nulls = ", ".join(f'cast(null as {c.type}) as "{c.name}"' for c in table.columns)
        return f"select {nulls} where false"
    widths = sorted({file.width for file in snapshot.files})
    return " union all ".join(_select_of_width(snapshot, width) for width in widths)


def _select_of_width(snapshot: Snapshot, width: int) -> str:
    """The same of the files that have so many columns; the others are null. Asked by name, DuckDB opens every file."""
    table = snapshot.table
    there = [f'"{c.name}"' for c in table.columns[:width]]
    later = [f'cast(null as {c.type}) as "{c.name}"' for c in table.columns[width:]]
    files = ", ".join("'" + file.uri.replace("'", "''") + "'" for file in snapshot.files if file.width == width)
    return (
        f"select {', '.join(there + later)} "
        f"from read_parquet([{files}], hive_partitioning = true, hive_types = {{'{table.day}': date}})"
    )
