"""External schemas of the Redshift twin: the tables of a Glue catalog, read from S3 when a statement names them.

A table of the catalog is a table of PostgreSQL in the schema of that name, filled anew whenever the catalog has another
snapshot. PostgreSQL itself knows an external schema by its comment, so it comes and goes with its transaction.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clickstream_assets_tests.redshift_statements import FLAGS, GUIDE, ServerError, masked, quoted, without_comments

if TYPE_CHECKING:
    from pyiceberg.types import IcebergType

    from clickstream_assets_tests.redshift import Server

#: run once in each database, after that of the twin; what Redshift shows of external tables it shows here only:
#: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_TABLE_usage.html
CATALOG = r"""
create view pg_catalog.twin_schemas as
    select n.oid, n.nspname, n.nspowner, d.description::jsonb as options
    from pg_namespace n join pg_description d on d.objoid = n.oid and d.classoid = 'pg_namespace'::regclass
    where d.description like '{"DATABASE": %';
create table pg_catalog.twin_tables (
    schema_oid oid, tablename text, location text, parameters text, columns jsonb, partition jsonb
);
create view pg_catalog.svv_external_schemas as
    select oid::integer as esoid, 1::smallint as eskind, nspname as schemaname, nspowner::integer as esowner,
        options ->> 'DATABASE' as databasename, (options - 'DATABASE')::text as esoptions
    from twin_schemas;
create view pg_catalog.svv_external_tables as
    select current_database()::text as redshift_database_name, s.nspname::text as schemaname, t.tablename,
        'TABLE'::text as tabletype, t.location, ''::text as input_format, ''::text as output_format,
        ''::text as serialization_lib, ''::text as serde_parameters, 0 as compressed, t.parameters
    from twin_schemas s join twin_tables t on t.schema_oid = s.oid;
create view pg_catalog.svv_external_columns as
    select current_database()::text as redshift_database_name, s.nspname::text as schemaname, t.tablename,
        c.name as columnname, c.type as external_type, c.number::integer as columnnum,
        coalesce(p.number, 0)::integer as part_key, 'true'::text as is_nullable
    from twin_schemas s join twin_tables t on t.schema_oid = s.oid
        cross join jsonb_array_elements(t.columns) with ordinality as e(entry, number)
        cross join lateral (select entry ->> 0 as name, entry ->> 1 as type, e.number) c
        left join jsonb_array_elements_text(t.partition) with ordinality as p(name, number) on p.name = c.name;
do $$
declare relation record;
begin
    for relation in select * from (values
        ('information_schema.tables', 'table_schema'), ('information_schema.columns', 'table_schema'),
        ('pg_catalog.pg_tables', 'schemaname')
    ) v (name, schema)
    loop
        execute format(
            'create or replace view %s as select * from (%s) found where %I not in (select nspname from twin_schemas)',
            relation.name, rtrim(pg_get_viewdef(relation.name::regclass), ';'), relation.schema
        );
    end loop;
end $$;
grant select on pg_catalog.twin_schemas, pg_catalog.twin_tables, pg_catalog.svv_external_schemas,
    pg_catalog.svv_external_tables, pg_catalog.svv_external_columns to public
"""

_NAME = r'(?:"[^"]+"|\w+)'
_CREATE = re.compile(
    rf"\s*create\s+external\s+schema\s+(?P<unless>if\s+not\s+exists\s+)?(?P<name>{_NAME})\s+from\s+(?P<rest>.*?);?\s*",
    FLAGS,
)
_DROP = re.compile(
    rf"\s*drop\s+schema\s+(?P<check>if\s+exists\s+)?(?P<names>{_NAME}(?:\s*,\s*{_NAME})*)"
    r"(?P<database>\s+drop\s+external\s+database)?(?:\s+(?:cascade|restrict))?;?\s*",
    FLAGS,
)
#: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_SCHEMA.html; roles, never keys
_OPTIONS = {
    "DATABASE": r"database\s+'([^']+)'",
    "REGION": r"region\s+'([a-z0-9-]+)'",
    "IAM_ROLE": r"iam_role\s+'(arn:aws:iam::\d{12}:role/[^']+)'",
}
#: Redshift writes what it learns of an external table into its own catalog, in the transaction that reads the table.
#: AWS's documentation does not say so; Iceberg on Glue, Spectrum and datashares are reported there.
_READ_ONLY = "https://github.com/awslabs/mcp/issues/3342"
#: what changes the relation that is named next
_CHANGES = (
    r"(?:\binto|^\s*update|^\s*delete(?:\s+from)?|^\s*truncate(?:\s+table)?|^\s*copy|^\s*alter\s+table"
    r"|^\s*drop\s+(?:table|view)(?:\s+if\s+exists)?"
    r"|^\s*create\s+(?:or\s+replace\s+)?(?:\w+\s+)?(?:table|view)(?:\s+if\s+not\s+exists)?)\s+"
)


@dataclass(frozen=True)
class CreateExternalSchema:
    """A CREATE EXTERNAL SCHEMA from the data catalog; the database that it names need not exist."""

    tag = b"CREATE SCHEMA"

    name: str
    unless: bool
    options: Mapping[str, str]

    @classmethod
    def parsed(cls, sql: str) -> CreateExternalSchema | None:
        """What the statement asks for; none when it is another.

        Raises:
            ServerError: it is of another source than the data catalog, an option is missing, or is none that we know.
        """
        match = _CREATE.fullmatch(without_comments(sql))
        if not match:
            return None
        rest, catalog = re.subn(r"^data\s+catalog\b", "", match["rest"], flags=FLAGS)
        if not catalog:
            raise ServerError(f"The twin makes external schemas FROM DATA CATALOG only: {match['rest'].split()[0]}")
        options = {}
        for name, pattern in _OPTIONS.items():
            if found := re.search(rf"(?<!\S){pattern}(?!\S)", rest, FLAGS):
                options[name] = found[1]
                rest = rest[: found.start()] + rest[found.end() :]
        if rest.strip():
            word = rest.split()[0].upper()
            raise ServerError(f"{word} is no option of CREATE EXTERNAL SCHEMA that the twin takes", sqlstate="42601")
        for name in ("DATABASE", "IAM_ROLE"):
            if name not in options:
                raise ServerError(f"CREATE EXTERNAL SCHEMA needs {name}: a database of the catalog, by a role")
        return cls(match["name"].strip('"'), bool(match["unless"]), options)

    def run(self, server: Server) -> None:
        """Make it in the transaction of that connection."""
        if self.unless and server.run(f"select 1 from pg_namespace where nspname = {quoted(self.name)}"):
            return
        server.run(f'create schema "{self.name}"')
        server.run(f'comment on schema "{self.name}" is {quoted(json.dumps(self.options))}')


@dataclass
class Glue:
    """The catalog at an endpoint, by default where the environment has it, and how S3 is reached."""

    #: properties of pyiceberg's S3
    s3: Mapping[str, str] = field(repr=False)
    endpoint: str | None = None
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)
    #: boto3 makes one client at a time
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def tables(self, schema: Schema) -> list[dict[str, Any]]:
        """What the catalog says of the tables of a database; nothing of one that does not exist."""
        client = self._client(schema)
        try:
            pages = list(client.get_paginator("get_tables").paginate(DatabaseName=schema.database))
        except client.exceptions.EntityNotFoundException:
            return []
        return [table for page in pages for table in page["TableList"]]

    def table(self, schema: Schema, name: str) -> dict[str, Any] | None:
        """What the catalog says of one table."""
        client = self._client(schema)
        try:
            found: dict[str, Any] = client.get_table(DatabaseName=schema.database, Name=name)["Table"]
        except client.exceptions.EntityNotFoundException:
            return None
        return found

    def iceberg(self, described: dict[str, Any]) -> Any:
        """The Iceberg table as the metadata has it that the catalog points at.

        Raises:
            ServerError: it is no Iceberg table.
        """
        from pyiceberg.table import StaticTable

        parameters = described.get("Parameters", {})
        if parameters.get("table_type", "").upper() != "ICEBERG":
            raise ServerError(f"The twin reads Iceberg tables only, which {described['Name']} is not")
        return StaticTable.from_metadata(parameters["metadata_location"], dict(self.s3))

    def close(self) -> None:
        """Let go of its connections."""
        while self._clients:
            self._clients.popitem()[1].close()

    def _client(self, schema: Schema) -> Any:
        import boto3

        endpoint = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_GLUE")
        if not endpoint:
            raise ServerError("The twin was not told of a Glue catalog: set AWS_ENDPOINT_URL_GLUE")
        place = endpoint, schema.region or self.s3["s3.region"]
        with self._lock:
            if place not in self._clients:
                self._clients[place] = boto3.client(
                    "glue",
                    endpoint_url=place[0],
                    region_name=place[1],
                    aws_access_key_id=self.s3["s3.access-key-id"],
                    aws_secret_access_key=self.s3["s3.secret-access-key"],
                )
            return self._clients[place]


@dataclass(frozen=True)
class Schema:
    """An external schema that is there."""

    oid: str
    name: str
    database: str
    region: str | None

    @property
    def pattern(self) -> str:
        """How a statement names it before a dot."""
        return rf'(?<![\w."$])(?:"{re.escape(self.name)}"|{re.escape(self.name)})\s*\.\s*'


@dataclass(frozen=True)
class External:
    """What a session does before a statement, when its database has external schemas."""

    client: Server
    glue: Glue
    #: opens a connection of the owner of the server
    administrator: Callable[[], contextlib.AbstractContextManager[Server]]

    def prepared(self, sql: str) -> str:
        """Bring what the statement reads up to date; the statement for PostgreSQL.

        Raises:
            ServerError: the statement would change an external table, or is another that Redshift refuses.
        """
        schemas = [
            Schema(oid, name, json.loads(options)["DATABASE"], json.loads(options).get("REGION"))
            for oid, name, options in self.client.run("select oid, nspname, options from pg_catalog.twin_schemas")
        ]
        if not schemas:
            return sql
        code = masked(sql, names=True)
        if drop := _DROP.fullmatch(code):
            return _dropped(drop, {schema.name for schema in schemas}) or sql
        for schema in schemas:
            _refuse(code, schema)
        if re.search(r"\bsvv_external_(?:tables|columns)\b", code, FLAGS):
            self._list(schemas)
        read = self._read_by(code, schemas)
        if read and self.client.run("show transaction_read_only") == [["on"]]:
            schema, table = min(read, key=str)
            raise ServerError(
                f'Failed to incorporate external table "{schema.name}"."{table}" into local catalog. '
                "Error=transaction is read-only",
                f"See {_READ_ONLY}",
                "XX000",
            )
        for schema, table in read:
            self._fill(schema, table)
        return sql

    def _read_by(self, code: str, schemas: Sequence[Schema]) -> set[tuple[Schema, str]]:
        """External tables that a statement names, or that a view is made of that it names."""
        by_oid = {schema.oid: schema for schema in schemas}
        found = {
            (schema, match[1].strip('"').lower())
            for schema in schemas
            for match in re.finditer(rf"{schema.pattern}({_NAME})", code, FLAGS)
        }
        views = self.client.run(
            "with recursive seen (schema, name, oid) as ("
            "select relnamespace, relname, oid from pg_class "
            f"where relkind = 'r' and relnamespace in ({', '.join(by_oid)}) "
            "union select s.schema, s.name, r.ev_class from seen s join pg_depend d on d.refobjid = s.oid "
            "and d.refclassid = 'pg_class'::regclass and d.classid = 'pg_rewrite'::regclass "
            "join pg_rewrite r on r.oid = d.objid) "
            "select s.schema, s.name, v.relname from seen s join pg_class v on v.oid = s.oid where v.relkind = 'v'"
        )
        words = set(re.findall(r"\w+", code.lower()))
        return found | {(by_oid[schema], name) for schema, name, view in views if view in words}

    @contextlib.contextmanager
    def _writer(self, schema: Schema) -> Iterator[Server]:
        """Who writes: the owner, in a transaction of his own; the client only where nobody else sees the schema yet."""
        with self.administrator() as owner:
            if not owner.run(f"select 1 from pg_namespace where oid = {schema.oid}"):
                yield self.client
                return
            owner.run("begin")
            owner.run("set local lock_timeout = '10s'")
            owner.run("select pg_advisory_xact_lock(1)")
            yield owner
            owner.run("commit")

    def _fill(self, schema: Schema, table: str) -> None:
        """Make the table what the catalog has at this moment."""
        described = self.glue.table(schema, table)
        name = f'"{schema.name}"."{table}"'
        with self._writer(schema) as writer:
            ((known, comment),) = writer.run(
                f"select to_regclass({quoted(name)}), coalesce(obj_description(to_regclass({quoted(name)})), '')"
            )
            if described is None:
                writer.run(f"drop table if exists {name} cascade")
                return
            iceberg = self.glue.iceberg(described)
            if known and comment == iceberg.metadata_location:
                return
            columns = _columns(iceberg)
            self._shape(writer, name, columns, known=bool(known))
            names = ", ".join(f'"{column}"' for column, _ in columns)
            writer.run(f"copy {name} ({names}) from stdin with (format csv)", _csv(iceberg.scan().to_arrow()))
            writer.run(f"comment on table {name} is {quoted(iceberg.metadata_location)}")

    def _shape(self, writer: Server, name: str, columns: Sequence[tuple[str, str]], *, known: bool) -> None:
        """An empty table with these columns; the one that is there, when they are those that it has and further ones.

        Views over it stay as long as it does.
        """
        had = []
        if known:
            rows = writer.run(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                f"where attrelid = {quoted(name)}::regclass and attnum > 0 and not attisdropped order by attnum"
            )
            had = [(column, type_) for column, type_ in rows]
        if not known or had != list(columns[: len(had)]):
            writer.run(f"drop table if exists {name} cascade")
            writer.run(f"create table {name} ()")
            writer.run(f"grant select on {name} to public")
            had = []
        writer.run(f"delete from {name}")
        for column, type_ in columns[len(had) :]:
            writer.run(f'alter table {name} add column "{column}" {type_}')

    def _list(self, schemas: Sequence[Schema]) -> None:
        """What svv_external_tables and svv_external_columns show."""
        for schema in schemas:
            rows = []
            for table in self.glue.tables(schema):
                columns, partition = [], []
                if table.get("Parameters", {}).get("table_type", "").upper() == "ICEBERG":
                    iceberg = self.glue.iceberg(table)
                    columns = _columns(iceberg)
                    partition = [iceberg.schema().find_column_name(f.source_id) for f in iceberg.spec().fields]
                values = (
                    table["Name"], table.get("StorageDescriptor", {}).get("Location", ""),
                    json.dumps(table.get("Parameters", {})), json.dumps(columns),
                    json.dumps([name.lower() for name in partition]),
                )  # fmt: skip
                rows.append(f"({schema.oid}, {', '.join(map(quoted, values))})")
            with self.administrator() as owner:
                owner.run(
                    f"select pg_advisory_xact_lock(2); delete from twin_tables where schema_oid = {schema.oid}; "
                    + (f"insert into twin_tables values {', '.join(rows)}" if rows else "")
                )


def _dropped(drop: re.Match[str], external: set[str]) -> str | None:
    """DROP SCHEMA of external ones, which are empty for Redshift; none for that of others.

    Raises:
        ServerError: the database would be dropped, or a schema that is not external too.
    """
    names = [name.strip().strip('"').lower() for name in drop["names"].split(",")]
    if not external & set(names):
        return None
    if drop["database"]:
        raise ServerError("The twin drops no database of the catalog")
    if set(names) - external:
        raise ServerError("The twin drops external schemas by themselves")
    return f"drop schema {drop['check'] or ''}{drop['names']} cascade"


def _refuse(code: str, schema: Schema) -> None:
    """What Redshift refuses with external tables."""
    if re.search(rf"{_CHANGES}{schema.pattern}", code, FLAGS):
        word = code.split()[0].upper()
        raise ServerError(f"{word}: an external table is not changed here", f"See {GUIDE}c-using-spectrum.html")
    bound = re.match(r"\s*create\s+(?:or\s+replace\s+)?view\b(?!.*\bwith\s+no\s+schema\s+binding\b)", code, FLAGS)
    if bound and re.search(schema.pattern, code, FLAGS):
        text = "A view of an external table needs WITH NO SCHEMA BINDING"
        raise ServerError(text, f"See {GUIDE}r_CREATE_VIEW.html")


def _columns(iceberg: Any) -> list[tuple[str, str]]:
    """Names and types of an Iceberg table as Redshift shows them; names of external tables are in lower case."""
    return [(column.name.lower(), _type(column.field_type)) for column in iceberg.schema().fields]


def _type(iceberg: IcebergType) -> str:
    """https://docs.aws.amazon.com/redshift/latest/dg/querying-iceberg-supported-data-types.html.

    Raises:
        ServerError: one that Redshift does not read, or the twin does not.
    """
    name = str(iceberg)
    if decimal := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return f"numeric({decimal[1]},{decimal[2]})"
    if name not in _TYPES:
        raise ServerError(f"The twin does not read the Iceberg type {name}")
    return _TYPES[name]


#: characters of a text that come through; the rest is cut off
_TEXT = 16384
_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "string": f"character varying({_TEXT})",
    "binary": "bytea",  # its name for VARBYTE, whose 64,000 bytes nothing here comes near
    "date": "date",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}


def _csv(table: Any) -> Iterator[bytes]:
    """Rows as PostgreSQL's COPY reads them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    for index, column in enumerate(table.schema):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            cut = pc.utf8_slice_codeunits(table.column(index), 0, _TEXT)
            table = table.set_column(index, column.name, cut)
        elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            values = (value if value is None else f"\\x{value.hex()}" for value in table.column(index).to_pylist())
            table = table.set_column(index, column.name, pa.array(values, pa.string()))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    data = sink.getvalue().to_pybytes()
    return (data[start : start + 65536] for start in range(0, len(data), 65536))
