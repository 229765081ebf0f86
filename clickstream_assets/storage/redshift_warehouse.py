"""The warehouse on Amazon Redshift: tables that COPY loads from the lake's files, a partition at a time.

To replace days of a table is one transaction: COPY the published files of those days into a temporary table, count,
delete the days, insert the rows by name. COPY reads a manifest that lists exactly those files with their sizes, by the
role of the settings, and never with keys.

Transactions that load wait for each other by ``LOCK``; where Redshift still finds that two could not have run
one after the other it fails one with error 1023, and that one is done again from its beginning. Nothing else is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import ClickstreamError, PublishError, QueryRefused
from clickstream_assets.schemas import Column, Table
from clickstream_assets.settings import Redshift
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.warehouse import Result, Row, Transaction, Warehouse, dates, identifier

if TYPE_CHECKING:
    from redshift_connector.core import Connection

    from clickstream_assets.storage.lake import Lake, Snapshot

_LOG = logging.getLogger(__name__)

#: how often a transaction is begun that Redshift fails with error 1023
_ATTEMPTS = 6

#: seconds to wait for a connection; Redshift Serverless takes half a minute to wake up
_CONNECT_SECONDS = 90

#: first words of what may be asked; the transaction may only read, but UNLOAD would write to S3
_QUERIES = ("select", "with", "explain", "show")

#: seconds after which a connection is asked whether it still is one; firewalls forget idle ones after minutes
_IDLE = 60

#: types of the registry; a text may be as long as Redshift lets it, since one that is too long stops a whole load
_TYPES = {"varchar": "varchar(65535)"}

#: the pipeline's own tables: small, so every node has all of them
_OPS = {
    "ops.row_ledger": (
        "asset varchar(255) not null, partition_date date not null, run_id varchar(255) not null, "
        "rows_in bigint not null, rows_out bigint not null, rejected bigint not null, duplicate bigint not null, "
        "late bigint not null, filtered bigint not null, source_snapshot bigint, recorded_at timestamptz not null"
    ),
    "ops.landing_files": (
        "path varchar(4096) not null, size bigint not null, content_hash varchar(255) not null, "
        "partition_date date not null, rows bigint not null, status varchar(255) not null, run_id varchar(255) not null"
    ),
    "ops.landing_versions": (
        "path varchar(4096) not null, partition_date date not null, read_as varchar(255) not null"
    ),
    "ops.run_window": "domain varchar(255) not null, partition_date date not null",
    # Empty: what a transaction locks that loads. LOCK stops readers too, and nobody reads this.
    "ops.load_lock": "nothing smallint",
}


class _CopyFailed(Exception):
    def __init__(self, relation: str, said: str, started: datetime):
        super().__init__(said)
        self.relation = relation
        self.started = started


class _Transaction:
    def __init__(self, connection: Connection, loads: Collection[str] = ()):
        self._connection = connection
        self.loads = loads

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.paramstyle = "qmark"
            cursor.execute(sql, list(parameters) or None)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


class RedshiftWarehouse(Warehouse):
    """A database on Redshift. ``files``: those of the lake, below which COPY's manifests are written for a moment."""

    def __init__(self, settings: Redshift, files: Files):
        self._settings = settings
        self._files = files
        self._kept = threading.local()
        self._opened: set[Connection] = set()
        weakref.finalize(self, _close_all, self._opened)

    @contextlib.contextmanager
    def locked(self, what: str, *, timeout: float | None = None) -> Iterator[None]:
        """Nothing to hold: Redshift serves many at once."""
        yield

    def transact(self, what: str, work: Callable[[Transaction], Result], *, loads: Collection[Table] = ()) -> Result:
        """One transaction, begun again when Redshift says that it could not be serialized.

        One that loads has loading for itself by its first statement: it would not see what others commit after its
        first look. The tables are not locked, so that whoever reads them goes on reading the rows of before.
        """
        relations = [str(table.warehouse) for table in loads]
        for attempt in range(1, _ATTEMPTS + 1):
            connection = self._connected()
            try:
                transaction = _Transaction(connection, relations)
                if loads:
                    transaction.run("lock ops.load_lock")
                    self._make(transaction, loads)
                result = work(transaction)
                connection.commit()
                self._kept.used = time.monotonic()
                return result
            except BaseException as error:
                session = self._kept.session
                self._let_go()
                if not _cannot_be_serialized(error) or attempt == _ATTEMPTS:
                    if (told := self._told(what, error, session)) is None:
                        raise
                    raise told from error
                _LOG.warning("%s: Redshift could not serialize it (error 1023): attempt %s", what, attempt + 1)
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 so that two do not meet again
        raise AssertionError("unreachable")

    def _told(self, what: str, error: BaseException, session: int) -> ClickstreamError | None:
        """What the user is told of an error that a transaction ended with; None of one that is not Redshift's."""
        from redshift_connector.error import Error

        if isinstance(error, _CopyFailed):
            said = str(error)
            with contextlib.suppress(ClickstreamError):  # when Redshift is gone by now
                said = self._load_errors(session, error.started) or said
            return PublishError(f"Redshift could not load {error.relation}: {said}")
        if isinstance(error, (Error, ConnectionError, TimeoutError)):  # the last when keep-alives are not answered
            return ClickstreamError(f"Redshift failed at {what}: {_said(error).rstrip('.')}. Run again: it ends right.")
        return None

    def _load_errors(self, session: int, started: datetime) -> str:
        """What Redshift wrote down of a session's COPY that failed: which file, which column, why.

        Sessions come again with the same number, so ``started`` is when the COPY began by Redshift's clock. What is not
        about a file, e.g. a role that is not allowed to read, is not written down.
        """
        rows = self.transact(
            "the errors of a load",
            lambda transaction: transaction.run(
                "select file_name, column_name, error_message from sys_load_error_detail where session_id = ? "
                "and start_time >= ? order by start_time desc limit 3",
                [session, started],
            ),
        )
        told = ([(text or "").strip() for text in row] for row in rows)
        return "; ".join(f"{file}{f', column {column}' if column else ''}: {why}" for file, column, why in told)

    def _connected(self) -> Connection:
        """This thread's connection; opened when there is none, or when the one there was is gone."""
        from redshift_connector.error import Error

        connection = getattr(self._kept, "connection", None)
        if connection is not None and time.monotonic() - self._kept.used > _IDLE:
            try:
                _Transaction(connection).run("select 1")
                connection.rollback()
            except (Error, OSError):
                self._let_go()
                connection = None
        if connection is None:
            connection = self._kept.connection = self._connect()
            self._kept.used = time.monotonic()
            self._opened.add(connection)
        return connection

    def _let_go(self) -> None:
        connection = self._kept.__dict__.pop("connection", None)
        if connection is not None:
            self._opened.discard(connection)
            _close_all({connection})

    def _connect(self) -> Connection:
        """Open a connection in UTC; the pipeline's own tables are made when one is missing.

        Somebody who may only read can connect, too, once they are there.

        Raises:
            ClickstreamError: Redshift does not answer, or does not let us in.
        """
        import redshift_connector
        from redshift_connector.error import Error

        settings = self._settings
        try:
            connection = redshift_connector.connect(
                host=settings.host,
                port=settings.port,
                database=settings.database,
                user=settings.user,
                password=settings.password,
                ssl=settings.ssl,
                application_name="clickstream",  # without one the driver looks for one on the stack, which takes long
                timeout=_CONNECT_SECONDS,
            )
        except (Error, OSError) as error:
            raise ClickstreamError(
                f"Redshift at {settings.host}:{settings.port}, database {settings.database}, cannot be opened as "
                f"{settings.user}: {_said(error)}"
            ) from error
        connection._usock.settimeout(None)  # or the driver would keep it for statements, and a COPY takes minutes
        transaction = _Transaction(connection)
        transaction.run("set timezone to 'UTC'")
        ((self._kept.session,),) = transaction.run("select pg_backend_pid()")
        connection.commit()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _make_own(transaction)
                connection.commit()
                return connection
            except Error as error:  # another process makes them at this moment
                connection.rollback()
                if attempt == _ATTEMPTS:
                    raise ClickstreamError(f"The schema ops cannot be made on Redshift: {_said(error)}") from error
                time.sleep(random.uniform(0, 0.5))  # noqa: S311 so that two do not meet again
        raise AssertionError("unreachable")

    def query(self, sql: str) -> tuple[list[str], list[Row]]:
        """As of any warehouse; one statement, in a transaction that may only read."""
        statement = sql.strip().rstrip(";").strip()
        if not statement:
            raise QueryRefused("The query is empty: give one SELECT.")
        word = _first_word(statement)
        if word not in _QUERIES:
            raise QueryRefused(f"{word.upper()} is not a query: only SELECT and EXPLAIN SELECT run here.")
        from redshift_connector.error import Error

        try:
            try:
                return self._read("begin read only", statement)
            except Error as error:
                # To read an external table Redshift writes to its own catalog. What else is begun is rolled back.
                if "transaction is read-only" not in _said(error) or "external" not in _said(error):
                    raise
                return self._read("begin", statement)
        except Error as error:
            raise QueryRefused(f"The query failed: {_said(error)}") from error

    def _read(self, begin: str, statement: str) -> tuple[list[str], list[Row]]:
        """Names and rows of a statement in a transaction of its own, which is never committed."""
        connection = self._connected()
        connection.autocommit = True  # or the driver would begin a transaction of its own, which may write
        try:
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(begin)
                cursor.execute(statement)
                return [_text(column[0]) for column in cursor.description], [tuple(row) for row in cursor.fetchall()]
        finally:
            self._let_go()

    def show(self, transaction: Transaction, lake: Lake, table: Table) -> None:
        """Create the external schema over the Glue database, once; it shows what the catalog has, whatever changes.

        Redshift reads no other catalog: with one the table is in the lake only.

        Raises:
            PublishError: the schema is there and shows something else.
        """
        if table.external is not None:
            schema, database = table.external.partition(".")[0], table.lake.partition(".")[0]
            self._show_database(transaction, lake, schema, database)

    def show_as(self, transaction: Transaction, lake: Lake, name: str, select: str) -> None:
        """Show it as an external table, and by a view of that, which binds when it is asked: columns may be added.

        Raises:
            PublishError: the external schema is there and shows something else.
        """
        database, _, table = name.partition(".")
        if not self._show_database(transaction, lake, f"spectrum_{database}", database):
            return
        transaction.run(f"create schema if not exists {identifier(database)}")
        transaction.run(
            f"create or replace view {identifier(name)} as select * from {identifier(f'spectrum_{database}.{table}')} "
            "with no schema binding"
        )

    def _show_database(self, transaction: Transaction, lake: Lake, schema: str, database: str) -> bool:
        """Whether there is an external schema over a database of the Glue catalog; it is made when it is missing."""
        if lake.catalog.kind != "glue":
            return False
        found = transaction.run("select databasename from svv_external_schemas where schemaname = ?", [schema])
        if not found:
            transaction.run(
                f"create external schema if not exists {identifier(schema)} from data catalog database "
                f"'{database}' iam_role '{self._settings.copy_role_arn}'"
            )
        elif found != [(database,)]:
            raise PublishError(
                f"{schema} on Redshift shows the database {found[0][0]}, not {database}: drop the schema and run again."
            )
        return True

    def bring(self, transaction: Transaction, lake: Lake, table: Table, days: Collection[date]) -> Snapshot:
        """Replace the days by what COPY loads of the current snapshot.

        Raises:
            PublishError: COPY refused a file, and says which; it loaded fewer or more rows than the snapshot has; or
                the files have their columns in another order than the registry.
        """
        relation = identifier(str(table.warehouse))
        snapshot = lake.snapshot(table, days)
        # COPY goes by position: the files have the columns that the lake has, in that order.
        table.appended(snapshot.columns, f"{table.lake} in the lake")
        stage = f"stage_{uuid.uuid4().hex}"
        columns = ", ".join(f'"{column.name.lower()}"' for column in table.columns)
        if snapshot.files:
            transaction.run(f"create temp table {stage} (like {relation})")
            self._copy(transaction, stage, columns, snapshot, lake.folder(table))
            ((rows,),) = transaction.run(f"select count(*) from {stage}")
            if rows != (published := sum(file.rows for file in snapshot.files)):
                raise PublishError(
                    f"{table.warehouse}: COPY loaded {rows:,} rows of {published:,}: run the days again."
                )
        transaction.run(f"delete from {relation} where {identifier(table.day)} in ({dates(days)})")
        if snapshot.files:
            transaction.run(f"insert into {relation} ({columns}) select {columns} from {stage}")
            transaction.run(f"drop table {stage}")
        return snapshot

    def _make(self, transaction: Transaction, tables: Collection[Table]) -> None:
        """Create tables that are missing, and append the columns that the registry has got since.

        Raises:
            PublishError: a table with rows has other columns than the registry, or has them in another order.
        """
        for table in tables:
            schema, _, name = str(table.warehouse).partition(".")
            found = transaction.run(
                "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
                "order by ordinal_position",
                [schema, name],
            )
            relation, names = identifier(str(table.warehouse)), [name for (name,) in found]
            try:
                new = table.appended(names, f"{table.warehouse} on Redshift")
            except PublishError:
                if transaction.run(f"select 1 from {relation} limit 1"):
                    raise
                transaction.run(f"drop table {relation}")
                names, new = [], table.columns
            if not names:
                transaction.run(f"create schema if not exists {identifier(schema)}")
                transaction.run(ddl(table))
                continue
            for column in new:
                transaction.run(f"alter table {relation} add column {_column(column)}")

    def _copy(self, transaction: Transaction, stage: str, columns: str, snapshot: Snapshot, folder: str) -> None:
        """COPY exactly the files of a snapshot."""
        from redshift_connector.error import Error

        path = f"{folder}/staging/{uuid.uuid4().hex}.json"  # where the sweep of orphans finds it after a kill
        entries = [
            {"url": file.uri, "mandatory": True, "meta": {"content_length": file.size}} for file in snapshot.files
        ]
        self._files.write(path, json.dumps({"entries": entries}).encode())
        ((started,),) = transaction.run("select getdate()")
        try:
            transaction.run(
                f"copy {stage} ({columns}) from '{self._files.uri(path)}' iam_role '{self._settings.copy_role_arn}' "
                "format as parquet manifest fillrecord"
            )
        except Error as error:
            raise _CopyFailed(str(snapshot.table.warehouse), _said(error), started) from error
        finally:
            self._files.delete(path)


def _make_own(transaction: Transaction) -> None:
    """Make what is missing of the pipeline's own tables."""
    found = transaction.run(
        "select 'ops.' || relname from pg_class join pg_namespace as n on n.oid = relnamespace where nspname = 'ops'"
    )
    for name in sorted(_OPS.keys() - {name for (name,) in found}):
        transaction.run("create schema if not exists ops")
        transaction.run(f"create table if not exists {name} ({_OPS[name]}) diststyle all")


def _close_all(connections: set[Connection]) -> None:
    while connections:
        connection = connections.pop()
        with contextlib.suppress(Exception):  # it may be gone; Redshift rolls back what was not committed
            connection.close()
        with contextlib.suppress(OSError):  # which the driver leaves open then
            os.close(connection._usock.detach())


def ddl(table: Table) -> str:
    """CREATE TABLE of a registered table."""
    columns = ", ".join(map(_column, table.columns))
    dist = f"distkey ({identifier(table.dist)})" if table.dist else "diststyle auto"
    sort = ", ".join(map(identifier, table.sort))
    return f"create table if not exists {identifier(str(table.warehouse))} ({columns}) {dist} compound sortkey ({sort})"


def _column(column: Column) -> str:
    return f"{identifier(column.name.lower())} {_TYPES.get(column.type, column.type)}"


def _cannot_be_serialized(error: BaseException) -> bool:
    """Whether it is Redshift's error 1023, which has no SQLSTATE of its own."""
    from redshift_connector.error import Error

    if isinstance(error, _CopyFailed) and error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, Error) and re.match(r"(ERROR: *)?1023\b", _said(error)) is not None


def _said(error: BaseException) -> str:
    """What the server or the driver said, in one line."""
    said = error.args[0] if error.args else error
    if isinstance(said, dict):
        said = f"{said.get('M', '')} {said.get('D', '')}"
    return " ".join(str(said).split())


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _first_word(sql: str) -> str:
    """The first word after comments, in lower case."""
    plain = re.sub(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", "", sql, flags=re.DOTALL)
    word = re.match(r"\w+", plain)
    return word[0].lower() if word else plain[:1]
