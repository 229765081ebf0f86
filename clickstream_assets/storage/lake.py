"""The lake: Iceberg tables whose files engines write and ``publish`` makes visible, one commit per table and run.

A reader sees the old partitions or the new ones, never a mixture. A crash before the commit leaves files that no
snapshot refers to, and nothing else. Copy-on-write only, so a snapshot is a plain list of Parquet files.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.errors import PublishError
from clickstream_assets.schemas import INTEGER, QUARANTINE, Table
from clickstream_assets.settings import Catalog
from clickstream_assets.storage.commits import until_committed
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.s3 import ATTEMPTS
from clickstream_assets.storage.staged import Staged, StagedFile

if TYPE_CHECKING:
    from filelock import FileLock
    from pyiceberg.catalog import Catalog as IcebergCatalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable

#: rows per row group: DuckDB and Spark work on row groups in parallel, and 128 k rows of a dozen columns are about 2 MB
ROW_GROUP = 131_072

#: properties of a snapshot: the run that made it, and the code that made its rows; the latter also of a table, of the
#: snapshots that are not kept any more (see ``maintenance``)
_RUN_ID, MADE_BY = "clickstream.run-id", "clickstream.made-by"

#: how often a commit looks at the table anew because another process was faster; four at once used up five
_COMMIT_ATTEMPTS = 30


@dataclass(frozen=True)
class SnapshotFile:
    """One Parquet file of a snapshot; ``size`` in bytes, ``added`` is the id of the snapshot that brought it.

    ``sequence``: the place of that snapshot in the table's history. ``width``: how many of the table's columns it has;
    those that were appended later are not in it. ``hours``: the first and the last hour that its rows have; None where
    the table has no hours.
    """

    uri: str
    rows: int
    day: date
    added: int
    size: int
    width: int
    sequence: int = 0
    hours: tuple[int, int] | None = None
    #: values of the table's partition columns
    partition: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The files of a table, or of some of its days, as of one snapshot; ``id`` is None before the first commit.

    ``columns``: the names of the table's columns in the lake, in the order that they have in the files.
    """

    table: Table
    id: int | None
    files: tuple[SnapshotFile, ...]
    columns: tuple[str, ...]

    @property
    def uris(self) -> list[str]:
        """Addresses of the files, as engines want them."""
        return [file.uri for file in self.files]

    def of(self, day: date) -> list[SnapshotFile]:
        """The files of one day."""
        return self._by_day.get(day, [])

    @cached_property
    def _by_day(self) -> dict[date, list[SnapshotFile]]:
        found: dict[date, list[SnapshotFile]] = defaultdict(list)
        for file in self.files:
            found[file.day].append(file)
        return dict(found)

    @property
    def days(self) -> Collection[date]:
        """Days that have rows."""
        return self._by_day.keys()

    def rows(self, day: date) -> int:
        """Rows of one day, from the table's metadata."""
        return sum(file.rows for file in self.of(day))

    def version(self, day: date) -> int | None:
        """The snapshot that last brought rows to the day, None when the day has none."""
        newest = max(self.of(day), key=lambda file: file.sequence, default=None)
        return newest.added if newest else None

    def since(self, day: date, version: int | None, rows: int) -> list[SnapshotFile] | None:
        """The day's files that were added since it had that version and so many rows: none when nothing has changed.

        Files are immutable and have rows. So where those that are as old as the version have other rows than all had
        then, some were taken away, and the answer is None.
        """
        files = self.of(day)
        then = [file.sequence for file in files if file.added == version]
        old = [file for file in files if then and file.sequence <= max(then)]
        if sum(file.rows for file in old) != rows or (version is not None and not then):
            return None
        return [file for file in files if file not in old]


@dataclass(frozen=True)
class Unregistered:
    """A table that the lake's catalog knows and the registry does not: one of those that are declared elsewhere."""

    lake: str


@dataclass(frozen=True)
class Metadata:
    """What Iceberg keeps of a table: its identity, its folder, and the address of every file that it refers to."""

    uuid: str
    location: str
    uris: frozenset[str]


@dataclass(frozen=True)
class Described:
    """What the catalog says of a table: columns with their Iceberg types, the partition columns.

    ``shown``: the columns that Glue keeps for others to show, with its own types; None where there is no such list.
    """

    columns: tuple[tuple[str, str], ...]
    partition: tuple[str, ...]
    shown: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Source:
    """Some days of a table, to be read when the reader is ready: after it has the domain for itself."""

    lake: Lake
    table: Table
    days: Sequence[date]

    def snapshot(self, further_days: Iterable[date] = (), *, by: str | None = None) -> Snapshot:
        """The files of the days, and of further ones, as they are now; ``by``: see ``Lake.snapshot``."""
        return self.lake.snapshot(self.table, {*self.days, *further_days}, by=by)


class Workplace:
    """The folders of the lake where engines leave finished files: all that they need to know of it."""

    def __init__(self, files: Files):
        self.files = files

    def folder(self, table: Table | Unregistered) -> str:
        """Where the files of a table are, below the lake's root."""
        return table.lake.replace(".", "/")

    def new_path(self, table: Table, day: date) -> str:
        """A unique path for a new data file of a day: ``…/data/<day column>=YYYY-MM-DD/<unique>.parquet``.

        Further partition columns are not part of the path; Iceberg keeps them in its metadata.
        """
        return f"{self.folder(table)}/data/{table.day}={day.isoformat()}/{uuid.uuid4().hex}.parquet"

    def new_staging_folder(self, table: Table) -> str:
        """A unique folder for an engine that names its files itself; ``adopt`` takes them from there."""
        return f"{self.folder(table)}/staging/{uuid.uuid4().hex}"

    def adopt(self, table: Table, staging: str) -> list[StagedFile]:
        """Move an engine's files from ``<staging>/_day=YYYY-MM-DD/`` to their place as data files of the table.

        What else Spark's committers and Hadoop's file systems leave there, ``_temporary`` or empty objects in the place
        of folders, goes with the folder.
        """
        adopted = []
        for folder in self.files.folders(staging):
            if not folder.startswith("_day="):
                continue
            day = date.fromisoformat(folder.partition("=")[2])
            for info in self.files.files(f"{staging}/{folder}"):
                if info.path.endswith(".parquet") and (rows := self._footer(info.path).num_rows):
                    path = self.new_path(table, day)
                    self.files.move(info.path, path)
                    adopted.append(StagedFile(path, rows, day))
        self.files.delete_folder(staging)
        return adopted

    def _footer(self, path: str) -> pq.FileMetaData:
        with self.files.open_random(path) as source:
            return pq.read_metadata(source)


class Lake(Workplace):
    """The Iceberg tables below one root, and their catalog."""

    def __init__(self, files: Files, catalog: Catalog):
        super().__init__(files)
        self.catalog = catalog

    @cached_property
    def _catalog(self) -> IcebergCatalog:
        from pyiceberg.catalog import load_catalog

        # pyiceberg's own class for Glue takes a commit that happened for one that did not: see ``glue``.
        glue = {"py-catalog-impl": "clickstream_assets.storage.glue.GlueCatalog", "glue.max-retries": ATTEMPTS - 1}
        kind = glue if self.catalog.kind == "glue" else {"type": self.catalog.kind}
        properties: dict[str, Any] = {**kind, "warehouse": self.files.uri(), **self.files.iceberg}
        if self.catalog.uri is not None:
            properties["uri"] = self.catalog.uri
        with self._creating():
            return load_catalog("clickstream", **properties)

    def _creating(self) -> FileLock:
        """Held while something new is made in the catalog: of two processes that both find it missing, one fails."""
        from filelock import FileLock

        self.catalog.lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.catalog.lock)

    def tables(self, namespace: str) -> list[str]:
        """Names of all tables of a namespace in the catalog, ``namespace.table``, sorted; none when it is not there."""
        from pyiceberg.exceptions import NoSuchNamespaceError

        try:
            return sorted(".".join(name) for name in self._catalog.list_tables(namespace))
        except NoSuchNamespaceError:
            return []

    def snapshot(self, table: Table, days: Iterable[date] | None = None, *, by: str | None = None) -> Snapshot:
        """The current snapshot's files, of all days or of the given ones.

        ``by``: which partition column's days are meant; the table's own day unless it is said.
        """
        from clickstream_assets.storage.manifests import listed

        iceberg = self._load(table)
        current = iceberg.current_snapshot() if iceberg is not None else None
        if iceberg is None or current is None:
            return Snapshot(table, None, (), ())
        wanted = None if days is None else set(days)
        columns = tuple(field.name for field in iceberg.schema().fields)
        within = (file for file in listed(iceberg, table, by) if wanted is None or file.day in wanted)
        files = tuple(sorted(within, key=lambda file: (file.day, file.uri)))
        return Snapshot(table, current.snapshot_id, files, columns)

    def version(self, table: Table) -> int | None:
        """The current snapshot's id, without a look at its files; None before the first commit."""
        iceberg = self._load(table)
        current = iceberg.current_snapshot() if iceberg is not None else None
        return current.snapshot_id if current is not None else None

    def made_by(self, table: Table, snapshots: Collection[int]) -> dict[int, str]:
        """Which code made the rows that some snapshots of a table brought; of those of which it is known."""
        iceberg = self._load(table)
        known = {} if iceberg is None else makers(iceberg)
        return {snapshot: known[snapshot] for snapshot in snapshots if snapshot in known}

    def metadata(self, table: Table | Unregistered) -> Metadata | None:
        """All files that a table stands on, those of older snapshots too; None when the catalog has no such table."""
        iceberg = self._load(table)
        if iceberg is None:
            return None
        described = iceberg.metadata
        uris = {iceberg.metadata_location, *(entry.metadata_file for entry in described.metadata_log)}
        uris |= {file.statistics_path for file in (*described.statistics, *described.partition_statistics)}
        manifests: dict[str, ManifestFile] = {}
        for snapshot in described.snapshots:
            uris.add(snapshot.manifest_list)
            manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(iceberg.io)}
        for path, manifest in manifests.items():
            entries = manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
            uris |= {path, *(entry.data_file.file_path for entry in entries)}
        plain = frozenset(uri.removeprefix("file://") for uri in uris)
        return Metadata(str(described.table_uuid), described.location.removeprefix("file://"), plain)

    def described(self, table: Table) -> Described | None:
        """How the catalog describes a table; None when it has no such table."""
        iceberg = self._load(table)
        if iceberg is None:
            return None
        schema = iceberg.schema()
        shown = None
        if self.catalog.kind == "glue":
            database, _, name = table.lake.partition(".")
            client: Any = self._catalog
            columns = client.glue.get_table(DatabaseName=database, Name=name)["Table"]["StorageDescriptor"]["Columns"]
            current = [c for c in columns if c.get("Parameters", {}).get("iceberg.field.current") != "false"]
            shown = tuple((column["Name"].lower(), column["Type"]) for column in current)
        return Described(
            tuple((field.name, str(field.field_type)) for field in schema.fields),
            tuple(schema.find_field(field.source_id).name for field in iceberg.spec().fields),
            shown,
        )

    def columns_of(self, file: SnapshotFile) -> list[tuple[str, str]]:
        """Names and Arrow types of the columns of a published file, from its footer."""
        schema = self._footer(self.files.relative(file.uri)).schema.to_arrow_schema()
        return [(field.name, str(_plain(field.type))) for field in schema]

    def verify(self, staged: Staged) -> None:
        """Compare staged files with their tables.

        Raises:
            PublishError: a file's columns, types or days are not the table's.
        """
        self._verify(staged.table, staged.files, staged.days)
        self._verify(QUARANTINE, staged.quarantine, staged.days)

    def publish(self, staged: Staged, *, verified: bool = False) -> Snapshot:
        """Replace the staged days of the table, and of its quarantine, by the staged files: a commit each.

        ``verified``: ``verify`` has been called, which reads each file's footer.

        Returns:
            The table's snapshot after the commit, with the files of the staged days.

        Raises:
            PublishError: a file does not match the table, and nothing was published; or others kept publishing to the
                table all the time.
        """
        if not verified:
            self.verify(staged)
        self._replace(staged.table, staged.days, staged.files, staged.kept, _properties(staged))
        self.publish_quarantine(staged)
        return self.snapshot(staged.table, staged.days)

    def publish_quarantine(self, staged: Staged) -> None:
        """Replace what the quarantine has of the table's staged days."""
        files, kept = staged.quarantine, staged.kept_quarantine
        self._replace(QUARANTINE, staged.days, files, kept, _properties(staged), asset=staged.table.name)

    def count_values(self, files: Sequence[StagedFile], column: str) -> Counter[str]:
        """How often each value of a text column occurs in staged files."""
        counts: Counter[str] = Counter()
        for file in files:
            with self.files.open_random(file.path) as source:
                values = pq.read_table(source, columns=[column]).column(column).value_counts()
            counts.update({entry["values"].as_py(): entry["counts"].as_py() for entry in values})
        return counts

    def null_counts(self, files: Sequence[StagedFile]) -> dict[str, int]:
        """Nulls per column over staged files, from their footers."""
        counts: dict[str, int] = {}
        for file in files:
            footer = self._footer(file.path)
            for group in map(footer.row_group, range(footer.num_row_groups)):
                for index in range(footer.num_columns):
                    column = group.column(index)
                    nulls = column.statistics.null_count if column.statistics else 0
                    counts[column.path_in_schema] = counts.get(column.path_in_schema, 0) + (nulls or 0)
        return counts

    def preview(self, files: Sequence[StagedFile], rows: int = 5) -> list[dict[str, Any]]:
        """The first rows of the first staged file."""
        if not files:
            return []
        with self.files.open_random(files[0].path) as source:
            batch = next(pq.ParquetFile(source).iter_batches(batch_size=rows))
        rows_of_batch: list[dict[str, Any]] = batch.to_pylist()
        return rows_of_batch

    def iceberg(self, name: str) -> IcebergTable | None:
        """A table of the catalog by its name, registered or not; None when there is none."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog.load_table(name)
        except NoSuchTableError:
            return None

    def create(
        self, name: str, schema: Schema, partition: Sequence[str], properties: Mapping[str, str]
    ) -> IcebergTable:
        """A table partitioned by the values of some columns, or the one that is there; registered or not.

        Its files are below the lake's root in the folder of its name.
        """
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.transforms import IdentityTransform

        fields = (
            PartitionField(schema.find_field(column).field_id, 1000 + n, IdentityTransform(), column)
            for n, column in enumerate(partition)
        )
        ours = {
            # Full bounds for the partition columns: cut ones (the default is 16 characters) would make a delete by
            # partition read and rewrite files instead of dropping them.
            **{f"write.metadata.metrics.column.{column}": "full" for column in partition},
            "commit.manifest-merge.enabled": "true",
            # pyiceberg's own retry would commit what was right for the snapshot before: see ``until_committed``.
            "commit.retry.num-retries": "0",
        }
        location = self.files.uri(name.replace(".", "/"))
        catalog = self._catalog
        with self._creating():
            catalog.create_namespace_if_not_exists(name.partition(".")[0])
            return catalog.create_table_if_not_exists(
                name,
                schema,
                location=location,
                partition_spec=PartitionSpec(*fields),
                properties={**ours, **properties},
            )

    def _load(self, table: Table | Unregistered) -> IcebergTable | None:
        return self.iceberg(table.lake)

    def _load_or_create(self, table: Table) -> IcebergTable:
        existing = self._load(table)
        if existing is not None:
            return _with_new_columns(existing, table)
        return self.create(table.lake, table.iceberg, table.partition, {"comment": table.description})

    def _replace(
        self,
        table: Table,
        days: Collection[date],
        files: Sequence[StagedFile],
        kept: Sequence[StagedFile],
        properties: dict[str, str],
        *,
        asset: str | None = None,
    ) -> None:
        """Commit against the snapshot that was looked at, and look again when another process was faster.

        Two processes that publish a new day would otherwise both find nothing to delete, and both add their rows.
        ``asset``: only what the quarantine has of it is replaced.
        """
        until_committed(
            lambda: self._commit(table, days, files, kept, properties, asset),
            *(table.name, "publish"),
            attempts=_COMMIT_ATTEMPTS,
        )

    def _commit(
        self,
        table: Table,
        days: Collection[date],
        files: Sequence[StagedFile],
        kept: Sequence[StagedFile],
        properties: dict[str, str],
        asset: str | None,
    ) -> None:
        from pyiceberg.expressions import And

        from clickstream_assets.storage.manifests import listed

        iceberg = self._load(table) if not files else self._load_or_create(table)
        if iceberg is None:
            return
        stay = {self.files.uri(file.path) for file in kept}
        of_days = (file for file in listed(iceberg, table, None) if file.day in set(days))
        there = {file.uri for file in of_days if asset is None or file.partition[0] == asset}
        if gone := stay - there:
            raise PublishError(f"{table.name}: {min(gone)} was to stay and is not there any more: run again.")
        # Deleting nothing warns in pyiceberg, and an empty commit is a snapshot for nothing.
        if not there - stay and not files:
            return
        where = _on_days(table, days) if asset is None else And(_is_in("asset", [asset]), _on_days(table, days))
        with iceberg.transaction() as transaction:
            if there and not stay:
                transaction.delete(where, snapshot_properties=properties)
            elif there - stay:
                replaced = [task.file for task in iceberg.scan(where).plan_files() if task.file.file_path not in stay]
                with transaction.update_snapshot(snapshot_properties=properties).overwrite() as overwrite:
                    for file in replaced:
                        overwrite.delete_data_file(file)
            if files:
                transaction.add_files(
                    [self.files.uri(file.path) for file in files],
                    snapshot_properties=properties,
                    check_duplicate_files=False,
                )

    def _verify(self, table: Table, files: Sequence[StagedFile], days: Sequence[date]) -> None:
        """Footers must match the registry: a file without its partition column would read as null for ever."""
        wanted_days = set(days)
        wanted = [(f.name, f.type) for f in table.arrow]
        position = table.arrow.get_field_index(table.day)
        alike: pq.ParquetSchema | None = None
        for file in files:
            if file.day not in wanted_days:
                raise PublishError(
                    f"{table.name}: staged {file.path} is of {file.day}, which this run did not ask for."
                )
            footer = self._footer(file.path)
            found = wanted
            # Usually all are alike: to look at a schema takes longer than to read it.
            if alike is None or not footer.schema.equals(alike):
                found = [(f.name, _plain(f.type)) for f in footer.schema.to_arrow_schema()]
            if found != wanted:
                difference = [str(f) for f in found if f not in wanted] + [f"no {w}" for w in wanted if w not in found]
                raise PublishError(
                    f"{table.name}: staged {file.path} differs from the registered columns: "
                    f"{', '.join(difference) or 'another order'}. Nothing was published."
                )
            alike = footer.schema
            for group in range(footer.num_row_groups):
                statistics = footer.row_group(group).column(position).statistics
                if statistics is None or not statistics.min == statistics.max == file.day or statistics.null_count:
                    raise PublishError(
                        f"{table.name}: staged {file.path} has rows outside {file.day}. Nothing was published."
                    )


class StagedWriter:
    """Writes one staged Parquet file for a day of a table, a row group at a time; no file when no row is given.

    A row group is encoded in another thread while the caller makes the next one: Arrow does it without Python's lock.

    ``schema``: how the rows are in memory, e.g. with dictionaries for columns that repeat; the file has plain types.
    """

    def __init__(self, lake: Lake, table: Table, day: date, schema: pa.Schema, *, row_group: int = ROW_GROUP):
        self._lake = lake
        self._row_group = row_group
        self._day = day
        self._schema = schema
        self._path = lake.new_path(table, day)
        self._open: tuple[pa.NativeFile, pq.ParquetWriter] | None = None
        self._rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._writing: Future[None] | None = None
        # Numbers that hardly repeat cost a third of the time to look up, and make the file larger.
        self._repeating = [c.name for c in table.columns if c.type != INTEGER and c.repeats]

    def append(self, rows: pa.Table) -> None:
        """Take rows; they reach the file when a row group is full."""
        self._pending.append(rows.cast(self._schema))
        self._pending_rows += rows.num_rows
        if self._pending_rows >= self._row_group:
            self.flush()

    @property
    def held(self) -> int:
        """Rows that have not reached the file."""
        return self._pending_rows

    @property
    def is_open(self) -> bool:
        """Whether there is a file by now."""
        return self._open is not None

    def take_back(self) -> list[pa.Table]:
        """Rows that have not reached the file, and will not."""
        rows, self._pending, self._pending_rows = self._pending, [], 0
        return rows

    def close(self) -> list[StagedFile]:
        """Finish the file: a list of the one staged file, or of none."""
        self.flush()
        self._wait()
        self._thread.shutdown()
        if self._open is None:
            return []
        sink, writer = self._open
        writer.close()
        sink.close()
        return [StagedFile(self._path, self._rows, self._day)]

    def flush(self) -> None:
        """Write what is held as a row group."""
        if not self._pending_rows:
            return
        if self._open is None:
            sink = self._lake.files.create(self._path)
            self._open = (
                sink,
                pq.ParquetWriter(
                    sink, self._schema, compression="snappy", store_schema=False, use_dictionary=self._repeating
                ),
            )
        self._wait()
        rows = pa.concat_tables(self._pending)
        self._writing = self._thread.submit(self._open[1].write_table, rows, row_group_size=self._row_group)
        self._rows += self._pending_rows
        self._pending, self._pending_rows = [], 0

    def _wait(self) -> None:
        """Until the last row group is written; one at a time, so that two are in memory at most."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def _with_new_columns(iceberg: IcebergTable, table: Table) -> IcebergTable:
    """The table, which gets the columns that were registered since: a commit of its own, once.

    Raises:
        PublishError: the registry has done more than append columns.
    """
    known, place = iceberg.schema().fields, f"{table.lake} in the lake"
    new = table.appended([field.name for field in known], place)
    for there, registered in zip(known, table.iceberg.fields, strict=False):
        if there.field_type != registered.field_type:
            raise PublishError(
                f"{place}: {there.name} is {there.field_type} there and {registered.field_type} in the registry. Give "
                "it its type back, or drop the table and run its days again."
            )
    if new:
        with iceberg.update_schema() as update:
            for column in new:
                field = table.iceberg.find_field(column.name)
                update.add_column(column.name, field.field_type, doc=column.description)
    return iceberg


def makers(iceberg: IcebergTable) -> dict[int, str]:
    """Which code made the rows that each snapshot brought, of those of whom it is known."""
    noted: dict[str, list[int]] = json.loads(iceberg.metadata.properties.get(MADE_BY, "{}"))
    known = {snapshot: maker for maker, snapshots in noted.items() for snapshot in snapshots}
    for one in iceberg.metadata.snapshots:
        if one.summary and one.summary[MADE_BY]:
            known[one.snapshot_id] = str(one.summary[MADE_BY])
    return known


def _properties(staged: Staged) -> dict[str, str]:
    return {_RUN_ID: staged.run_id} | ({MADE_BY: staged.made_by} if staged.made_by else {})


def _plain(kind: pa.DataType) -> pa.DataType:
    """Engines write UTC under several names; they are the same type here."""
    if pa.types.is_timestamp(kind) and kind.tz in ("UTC", "Etc/UTC", "+00:00", "Z"):
        return pa.timestamp(kind.unit, tz="UTC")
    return kind


def _on_days(table: Table, days: Iterable[date]) -> BooleanExpression:
    return _is_in(table.day, [day.isoformat() for day in days])


def _is_in(column: str, values: Sequence[str]) -> BooleanExpression:
    from pyiceberg import expressions

    membership: Any = expressions.In  # its signature is for parsed filters, not for names and plain values
    expression: BooleanExpression = membership(column, set(values))
    return expression
