"""The two Iceberg tables of a declared table: its current state and its history.

What has been applied is told by properties of the tables, which change in the commit that changes the rows.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from clickstream_assets.cdc.columns import Numbers
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage.warehouse import identifier

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table import Transaction
    from pyiceberg.types import IcebergType

    from clickstream_assets.cdc.declared import Declared
    from clickstream_assets.storage.lake import Lake

#: parts into which the keys fall by their hash; a batch rewrites the files of the parts that its keys are in
BUCKETS = 16

#: columns of the history beside those of the row
HISTORY = {
    "op": "varchar",
    "valid_from": "timestamptz",
    "valid_to": "timestamptz",
    "_reason": "varchar",
    "_sequence": "varchar",
    "_kind": "varchar",
    "_file_name": "varchar",
    "_source_line": "bigint",
    "_first_seen": "date",
    "_content": "bigint",
    "_key": "varchar",
    "_open": "boolean",
    "_bucket": "integer",
}

#: and those of the current state
STATE = {"_changed_at": "timestamptz", "_sequence": "varchar", "_key": "varchar", "_bucket": "integer"}

DOCS = {
    "op": "I, U or D; L for a row of a full load.",
    "valid_from": "When it happened at the source, UTC; null where that is not known.",
    "valid_to": "valid_from of the next version; null of the newest.",
    "_reason": "Why a row was deleted: ttl, key_changed, absent_from_load; null where the source does not say.",
    "_sequence": "Number of the change in the source's order.",
    "_kind": "`change`, or `load` for a row of a full load.",
    "_file_name": "Name of the landing file; empty where a load's silence tells it.",
    "_source_line": "Its place in the file.",
    "_first_seen": "UTC date on which the file was first seen.",
    "_content": "Hash of what the change says: tells copies of a change.",
    "_key": "The primary key: a JSON array of its values as text.",
    "_open": "Partition: whether it is the newest version of its key.",
    "_bucket": f"Partition: hash of the key, 0 to {BUCKETS - 1}.",
    "_changed_at": "When the row was changed last at the source, UTC; null where that is not known.",
}

APPLIED, GENERATION, ACCOUNTS, MADE, REBUILD = (
    f"clickstream.{name}" for name in ("applied", "generation", "accounts", "made", "rebuild")
)
_BUCKETS = "clickstream.buckets"


def bucket(key: str) -> int:
    """In which part of the tables a key is: what ``BUCKET_SQL`` says of ``_key``."""
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()[:8], "little") % BUCKETS


@dataclass(frozen=True)
class Marks:
    """What a history says of the changes that it is made of.

    ``applied``: Iceberg's sequence number of the newest raw rows. ``generation``: commits of the history so far.
    ``raw_rows``: raw rows up to ``applied``. ``derived``: rows that stand for no raw row. ``declared``, ``refused``:
    digests of the declaration and of the refused files. ``loads``: the places of the full loads.
    ``accounts``: by day rows_in, rows_out, duplicate and rejected.
    """

    applied: int = 0
    generation: int = 0
    raw_rows: int = 0
    derived: int = 0
    declared: str = ""
    refused: str = ""
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    loads: Sequence[tuple[str | None, str]] = ()
    accounts: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Marks:
        """As they were written by ``properties``."""
        made = json.loads(properties.get(MADE, "{}"))
        return cls(
            applied=int(properties.get(APPLIED, 0)),
            generation=int(properties.get(GENERATION, 0)),
            raw_rows=made.get("raw_rows", 0),
            derived=made.get("derived", 0),
            declared=made.get("declared", ""),
            refused=made.get("refused", ""),
            numbers={name: Numbers(*found) for name, found in made.get("numbers", {}).items()},
            loads=tuple((time, sequence) for time, sequence in made.get("loads", ())),
            accounts={day: tuple(counts) for day, counts in json.loads(properties.get(ACCOUNTS, "{}")).items()},
        )

    @property
    def properties(self) -> dict[str, str]:
        """Properties of the table that keep them."""
        made = {
            "raw_rows": self.raw_rows,
            "derived": self.derived,
            "declared": self.declared,
            "refused": self.refused,
            "numbers": {name: (n.digits, n.scale, n.odd) for name, n in sorted(self.numbers.items())},
            "loads": self.loads,
        }
        return {
            APPLIED: str(self.applied),
            GENERATION: str(self.generation),
            MADE: json.dumps(made, separators=(",", ":")),
            ACCOUNTS: json.dumps(self.accounts, separators=(",", ":"), sort_keys=True),
        }


@dataclass(frozen=True)
class Written:
    """A finished Parquet file that no snapshot refers to yet; ``partition``: its values of the partition columns."""

    path: str
    rows: int
    partition: tuple[Any, ...]


class CdcTable:
    """One of the two tables, as it is now, and what is to become of it: a transaction that ``commit`` ends."""

    def __init__(self, lake: Lake, name: str, iceberg: IcebergTable):
        self.name = name
        self._lake = lake
        self._iceberg = iceberg
        self._transaction: Transaction = iceberg.transaction()

    @classmethod
    def find(cls, lake: Lake, name: str) -> CdcTable | None:
        """The table; None when the catalog has none of that name."""
        found = lake.iceberg(name)
        return None if found is None else cls(lake, name, found)

    @classmethod
    def create(
        cls, lake: Lake, name: str, columns: Mapping[str, str], partition: Sequence[str], comment: str
    ) -> CdcTable:
        """A new table without rows."""
        properties = {_BUCKETS: str(BUCKETS), "comment": comment}
        return cls(lake, name, lake.create(name, schema_of(columns), partition, properties))

    @property
    def properties(self) -> Mapping[str, str]:
        """As they were when it was looked at."""
        return self._iceberg.properties

    @property
    def snapshot_id(self) -> int | None:
        """The current snapshot; None before the first commit."""
        current = self._iceberg.current_snapshot()
        return None if current is None else current.snapshot_id

    @property
    def partition(self) -> tuple[str, ...]:
        """The partition columns."""
        schema = self._iceberg.schema()
        return tuple(schema.find_field(one.source_id).name for one in self._iceberg.spec().fields)

    @property
    def columns(self) -> dict[str, str]:
        """Names and SQL types; what was JSON is text."""
        plain = {"int": "integer", "long": "bigint", "float": "real", "string": "varchar"}
        return {one.name: plain.get(str(one.field_type), str(one.field_type)) for one in self._iceberg.schema().fields}

    def files(self) -> list[DataFile]:
        """The data files of the current snapshot."""
        current = self._iceberg.current_snapshot()
        if current is None:
            return []
        return [
            entry.data_file
            for manifest in current.manifests(self._iceberg.io)
            for entry in manifest.fetch_manifest_entry(self._iceberg.io, discard_deleted=True)
        ]

    def holds(self, columns: Mapping[str, str]) -> bool:
        """Whether it can get these columns without its files being written again."""
        return all(
            there.name in columns and _widens(there.field_type, iceberg_type(columns[there.name]))
            for there in self._iceberg.schema().fields
        )

    def evolve(self, columns: Mapping[str, str], partition: Sequence[str]) -> dict[str, int]:
        """Give it these columns and partitions, with the rows of ``commit``; the field ids for the files.

        A column whose type cannot be widened to the new one makes place for another of its name: there are no files
        with the old one then.

        Raises:
            ClickstreamError: that column is one by which the table is partitioned.
        """
        from pyiceberg.types import NestedField

        there = {one.name: one for one in self._transaction.table_metadata.schema().fields}
        wanted = {name: iceberg_type(kind) for name, kind in columns.items()}
        gone = [name for name in there if name not in wanted or not _widens(there[name].field_type, wanted[name])]
        if lost := sorted({*self.partition, *partition} & set(gone)):
            raise ClickstreamError(
                f"{self.name} is partitioned by {lost[0]}, whose type changes to {columns.get(lost[0])}: declare "
                "another type for it under `types`, or drop the table and apply the changes with --replay."
            )
        moved = tuple(partition) != self.partition
        if moved:
            with self._transaction.update_spec() as spec:
                for name in self.partition:
                    spec.remove_field(name)
        if gone:
            with self._transaction.update_schema(allow_incompatible_changes=True) as update:
                for name in gone:
                    update.delete_column(name)
        new = [name for name in wanted if name not in there or name in gone]
        other = [n for n in wanted if n in there and n not in gone and there[n].field_type != wanted[n]]
        if new or other:
            with self._transaction.update_schema() as update:
                for name in new:
                    update.add_column(name, wanted[name], doc=DOCS.get(name))
                for name in other:
                    update.update_column(name, wanted[name])
        if moved:
            with self._transaction.update_spec() as spec:
                for name in partition:
                    spec.add_identity(name)
        fields: Iterable[NestedField] = self._transaction.table_metadata.schema().fields
        return {one.name: one.field_id for one in fields}

    def commit(
        self,
        removed: Collection[DataFile],
        added: Sequence[Written],
        properties: Mapping[str, str],
        *,
        run_id: str,
        unset: Collection[str] = (),
    ) -> None:
        """Replace some files by others, with the columns of ``evolve`` and the properties: one commit.

        Raises:
            CommitFailedException: another process changed the table meanwhile.
        """
        from pyiceberg.typedef import Record

        from clickstream_assets.storage.commits import data_file  # Arrow, which what loads the graph does not need

        transaction = self._transaction
        metadata = transaction.table_metadata
        if removed or added:
            told = {"clickstream.run-id": run_id}
            with transaction.update_snapshot(snapshot_properties=told).overwrite() as overwrite:
                for file in removed:
                    overwrite.delete_data_file(file)
                for written in added:
                    partition = Record(*map(_in_metadata, written.partition))
                    described = data_file(self._lake.files, written.path, metadata, partition, metadata.default_spec_id)
                    overwrite.append_data_file(described)
        if names := [name for name in unset if name in self._iceberg.properties]:
            transaction.remove_properties(*names)
        transaction.set_properties({name: str(value) for name, value in properties.items()})
        transaction.commit_transaction()
        found = type(self).find(self._lake, self.name)
        if found is None:
            raise ClickstreamError(f"{self.name} was dropped while it was written: run again.")
        self._iceberg, self._transaction = found._iceberg, found._transaction

    def new_path(self) -> str:
        """A unique path for a new data file, below the lake's root."""
        return f"{self.name.replace('.', '/')}/data/{uuid.uuid4().hex}.parquet"


def history_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """All columns of a history of rows with these."""
    return {**columns, **HISTORY}


def state_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """All columns of a current state of rows with these."""
    return {**columns, **STATE}


def state_partition(declared: Declared, columns: Collection[str]) -> str:
    """The column by which the current state is partitioned: the declared one, once there is a change that has it."""
    by = declared.partition_by
    return by if by is not None and by in columns else "_bucket"


def reading(uris: Collection[str], columns: Mapping[str, str]) -> str:
    """SQL that reads data files: all columns by name, null where a file is older than the column, and ``_uri``."""
    typed = [f"cast(null as {duckdb_type(kind)}) as {identifier(name)}" for name, kind in columns.items()]
    empty = f"select {', '.join(typed)}, cast(null as varchar) as _uri where false"
    if not uris:
        return f"({empty})"
    quoted = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
    files = f"read_parquet([{quoted}], union_by_name = true, filename = '_uri', hive_partitioning = false)"
    return f"({empty} union all by name select * from {files})"


def shown(lake: Lake, name: str) -> str | None:
    """SQL that reads the rows of one of the tables as they are now; None when the catalog has none of that name."""
    table = CdcTable.find(lake, name)
    if table is None:
        return None
    columns = table.columns
    uris = sorted(file.file_path for file in table.files())
    return f"select {', '.join(identifier(column) for column in columns)} from {reading(uris, columns)}"


def duckdb_type(kind: str) -> str:
    """The name that DuckDB has for a type; JSON stays text."""
    return {"json": "varchar", "binary": "blob"}.get(kind, kind)


def schema_of(columns: Mapping[str, str]) -> Schema:
    """Columns as Iceberg has them; field ids count from 1."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    return Schema(
        *(
            NestedField(n, name, iceberg_type(kind), required=False, doc=DOCS.get(name))
            for n, (name, kind) in enumerate(columns.items(), start=1)
        )
    )


def iceberg_type(kind: str) -> IcebergType:
    """The type that Iceberg has for it."""
    from pyiceberg import types as T

    if kind.startswith("decimal("):
        precision, scale = kind.removeprefix("decimal(").removesuffix(")").split(",")
        return T.DecimalType(int(precision), int(scale))
    plain: dict[str, type[IcebergType]] = {
        "varchar": T.StringType,
        "json": T.StringType,
        "boolean": T.BooleanType,
        "integer": T.IntegerType,
        "bigint": T.LongType,
        "real": T.FloatType,
        "double": T.DoubleType,
        "date": T.DateType,
        "timestamp": T.TimestampType,
        "timestamptz": T.TimestamptzType,
        "binary": T.BinaryType,
    }
    return plain[kind]()


def _in_metadata(value: Any) -> Any:
    """A value of a partition column as manifests have it: days and microseconds since 1970."""
    from pyiceberg.utils.datetime import date_to_days, datetime_to_micros

    if isinstance(value, datetime):
        return datetime_to_micros(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value)
    return date_to_days(value) if isinstance(value, date) else value


def _widens(before: IcebergType, after: IcebergType) -> bool:
    """Whether Iceberg reads files of the one type as the other; text as bytes is not meant."""
    from pyiceberg.exceptions import ResolveError
    from pyiceberg.schema import promote
    from pyiceberg.types import BinaryType

    if before == after:
        return True
    try:
        promote(before, after)
    except ResolveError:
        return False
    return not isinstance(after, BinaryType)
