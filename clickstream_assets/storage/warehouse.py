"""The warehouse: a DuckDB file that shows the lake as views and holds the ledger and what dbt builds.

DuckDB lets one process at a time open a file for writing, and then no other process read it. A lock file beside it,
released by the kernel when its holder dies, makes everybody wait in line, and a note says who holds it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import Busy, ClickstreamError, PublishError, QueryRefused
from clickstream_assets.schemas import Table
from clickstream_assets.storage.locks import process_lock
from clickstream_assets.storage.s3 import S3
from clickstream_assets.storage.staged import Account, LandingFile

if TYPE_CHECKING:
    import duckdb

    from clickstream_assets.storage.lake import Snapshot

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")

#: what stands before the statement that is explained; EXPLAIN ANALYZE runs it, be it COPY … TO a file
_EXPLAIN = re.compile(
    r"\A(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*explain\s+(?:analyze\b)?\s*(?:\([^)]*\))?", re.IGNORECASE
)

#: no extension is ever fetched: a run needs no network, and a view must not load code
_CONFIG = {
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
create table if not exists ops.publishing (table_name varchar not null primary key, domain varchar, staged varchar);
create table if not exists ops.run_window (domain varchar not null, partition_date date not null);
"""

_STATUS = {
    "Tables, their newest partition and how fresh they are": """
        select asset, count(*) as partitions, max(partition_date) as newest, sum(rows_in) as rows_in,
               sum(rows_out) as rows_out, sum(rejected) as rejected, sum(duplicate) as duplicate,
               max(recorded_at)::timestamp(0)::varchar || ' UTC' as last_run,
               date_diff('hour', max(recorded_at), now()) as hours_ago
        from ops.row_ledger group by asset
        order by contains(asset, '_raw.') desc, contains(asset, '_cleaned') desc, asset""",
    "Newest ledger rows": """
        select asset, partition_date, rows_in, rows_out, rejected, duplicate, late, filtered
        from ops.row_ledger
        qualify row_number() over (partition by asset order by partition_date desc) <= 3
        order by asset, partition_date desc""",
    "Rejected rows": """
        select asset, rule, count(*) as rows, min(partition_date) as first_day, max(partition_date) as last_day
        from ops.quarantine group by all order by asset, rows desc, rule""",
    "Landing files": """
        select split_part(path, '/', 1) as domain, status, count(*) as files, sum(size) as bytes, sum(rows) as records
        from ops.landing_files group by all order by all""",
}


class Warehouse:
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
        """Hold the warehouse without opening it, e.g. while dbt does; may be nested within one process.

        Raises:
            Busy: another process still holds it after ``timeout`` seconds; names that process.
        """
        with self._lock.held(what, timeout=self.lock_timeout if timeout is None else timeout):
            yield

    @contextlib.contextmanager
    def connect(self, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open for writing; one transaction, committed at the end and rolled back on an error."""
        with self.locked(what), contextlib.closing(self._open(read_only=False)) as connection:
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

    def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run read-only SQL; column names and rows of the last statement.

        Raises:
            QueryRefused: not valid SQL, or a statement that is not a query.
            Busy: a run held the warehouse for 30 s.
        """
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

    def status(self) -> Iterator[tuple[str, list[str], list[tuple[Any, ...]]]]:
        """Title, column names and rows of each part of a status report."""
        with self.reader("clickstream status") as connection:
            relations = connection.execute("select table_schema || '.' || table_name from information_schema.tables")
            has_quarantine = ("ops.quarantine",) in relations.fetchall()
            for title, sql in _STATUS.items():
                if "ops.quarantine" not in sql or has_quarantine:
                    result = connection.execute(sql)
                    yield title, [column[0] for column in result.description], result.fetchall()

    def show(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        """Show the lake's files of a table under its external name, if it has one; ``snapshot`` is of all days."""
        if snapshot.table.external:
            self._view(connection, snapshot.table.external, snapshot)

    def load(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, days: Collection[date]) -> None:
        """Make the warehouse table of a lake table show a snapshot (all days), of which ``days`` are new.

        On DuckDB it is a view over the published files: 503 files read in 0.03 s, and no second copy. The new days are
        counted through it.

        Raises:
            PublishError: the warehouse does not show the published rows; the transaction is not committed.
        """
        relation = str(snapshot.table.warehouse)
        self._view(connection, relation, snapshot)
        shown = _rows_by_day(connection, relation, snapshot.table.day, days)
        wrong = {
            day: (shown.get(day, 0), snapshot.rows(day)) for day in days if shown.get(day, 0) != snapshot.rows(day)
        }
        if wrong:
            text = ", ".join(f"{day}: {found:,} instead of {rows:,}" for day, (found, rows) in wrong.items())
            raise PublishError(f"{relation} does not show the rows that were published ({text}): run the days again.")

    def _view(self, connection: duckdb.DuckDBPyConnection, name: str, snapshot: Snapshot) -> None:
        schema = name.partition(".")[0]
        connection.execute(f"create schema if not exists {identifier(schema)}")
        connection.execute(f"create or replace view {identifier(name)} as {_select(snapshot)}")

    def record(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        asset: str,
        run_id: str,
        accounts: Sequence[Account],
    ) -> None:
        """Replace the ledger rows of an asset's partitions."""
        now = datetime.now(UTC)
        for a in accounts:
            connection.execute(
                "insert or replace into ops.row_ledger values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [asset, a.day, run_id, a.rows_in, a.rows_out, a.rejected, a.duplicate, a.late, a.filtered,
                 a.source_snapshot, now],
            )  # fmt: skip

    def note_publishing(self, connection: duckdb.DuckDBPyConnection, table: Table, staged: str) -> None:
        """Write down what is about to be published; one at a time for a table."""
        connection.execute("insert or replace into ops.publishing values (?, ?, ?)", [table.name, table.domain, staged])

    def forget_publishing(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        """The publishing of a table is done, or never happened."""
        connection.execute("delete from ops.publishing where table_name = ?", [table.name])

    def unfinished(self, domain: str) -> dict[str, str]:
        """What was being published when its process died, by table."""
        with self.connect("unfinished publishing") as connection:
            rows = connection.execute("select table_name, staged from ops.publishing where domain = ?", [domain])
            return dict(rows.fetchall())

    def source_snapshots(self, asset: str) -> dict[date, int | None]:
        """Which snapshot of its source each partition of an asset was made from."""
        with self.connect("ledger") as connection:
            rows = connection.execute(
                "select partition_date, source_snapshot from ops.row_ledger where asset = ?", [asset]
            ).fetchall()
        return dict(rows)

    def landing_files(self, root: str) -> list[LandingFile]:
        """What is known of the files below a folder of landing."""
        with self.connect("landing files") as connection:
            rows = connection.execute(
                "select path, size, content_hash, partition_date, rows, status, run_id from ops.landing_files "
                "where starts_with(path, ? || '/')",
                [root],
            ).fetchall()
        return [LandingFile(*row) for row in rows]

    def replace_landing_files(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        root: str,
        days: Iterable[date],
        files: Sequence[LandingFile],
    ) -> None:
        """Replace what is known of the files below a folder of landing on some days."""
        connection.execute(
            "delete from ops.landing_files where starts_with(path, ? || '/') and list_contains(?, partition_date)",
            [root, list(days)],
        )
        for f in files:
            connection.execute(
                "insert into ops.landing_files values (?, ?, ?, ?, ?, ?, ?)",
                [f.path, f.size, f.content_hash, f.partition_date, f.rows, f.status, f.run_id],
            )

    def set_run_window(self, domain: str, days: Iterable[date]) -> None:
        """Tell dbt which partitions to compute: the exact set of days, since a repair need not be contiguous."""
        with self.connect("run window") as connection:
            connection.execute("delete from ops.run_window where domain = ?", [domain])
            for day in days:
                connection.execute("insert into ops.run_window values (?, ?)", [domain, day])

    def rows_by_day(self, relation: str, day_column: str, days: Sequence[date]) -> Mapping[date, int]:
        """Rows per day of a relation, for the given days."""
        with self.connect("count rows") as connection:
            return _rows_by_day(connection, relation, day_column, days)

    def _open(self, *, read_only: bool, timeout: float | None = None) -> duckdb.DuckDBPyConnection:
        import duckdb

        wait = self.lock_timeout if timeout is None else timeout
        deadline = time.monotonic() + wait
        while True:
            try:
                s3 = self._s3  # first: what goes wrong with it must not leave the file open
                connection = duckdb.connect(str(self.path), read_only=read_only, config=dict(_CONFIG))
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


def _rows_by_day(
    connection: duckdb.DuckDBPyConnection, relation: str, day_column: str, days: Collection[date]
) -> dict[date, int]:
    column = identifier(day_column)
    # Dates as literals: a list in a parameter does not let DuckDB leave out the files of other days.
    dates = ", ".join(f"date '{day.isoformat()}'" for day in days) or "null"
    rows = connection.execute(
        f"select {column}, count(*) from {identifier(relation)} where {column} in ({dates}) group by 1"
    ).fetchall()
    return dict(rows)


def identifier(name: str) -> str:
    """A schema, table or column name, checked and quoted.

    Raises:
        ValueError: a part of it is not a plain lower-case name.
    """
    parts = name.split(".")
    for part in parts:
        if not _IDENTIFIER.fullmatch(part):
            raise ValueError(f"{name!r} is not a name that the warehouse takes: use a-z, 0-9 and _.")
    return ".".join(f'"{part}"' for part in parts)


def _select(snapshot: Snapshot) -> str:
    """SQL that reads the snapshot's files; the day is read from the path, so other days' files are not opened."""
    table = snapshot.table
    if not snapshot.files:
        nulls = ", ".join(f'cast(null as {c.type}) as "{c.name}"' for c in table.columns)
        return f"select {nulls} where false"
    columns = ", ".join(f'"{c.name}"' for c in table.columns)
    files = ", ".join("'" + uri.replace("'", "''") + "'" for uri in snapshot.uris)
    return (
        f"select {columns} from read_parquet([{files}], hive_partitioning = true, hive_types = {{'{table.day}': date}})"
    )
