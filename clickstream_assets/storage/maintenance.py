"""Upkeep of Iceberg tables: many small files put together, many small manifests too, old snapshots let go.

None of it removes a file: that is the sweep of ``orphans``, and only of files that no kept snapshot refers to. So a
reader of the current snapshot, or of one that was current within the horizon, finds all its files.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.errors import PublishError
from clickstream_assets.storage.commits import COMPACTION, REWRITE, data_file, until_committed
from clickstream_assets.storage.lake import MADE_BY, ROW_GROUP, Lake, makers

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

#: bytes below which a file is small; how many of them a partition has before it is worth a commit; and the bytes of
#: small files that make one new file, which are in memory twice at most
SMALL, LEAST, TOGETHER = 8 * 1024 * 1024, 5, 64 * 1024 * 1024

#: manifests that a table has before it is worth a commit to put them together
MANIFESTS = 5

#: pyiceberg's property: from how many manifests on a commit puts them together; 100 unless it is set
_MERGE_FROM, _MERGES = "commit.manifest.min-count-to-merge", "commit.manifest-merge.enabled"

#: and how large a manifest becomes
_TARGET_SIZE, _DEFAULT_TARGET_SIZE = "commit.manifest.target-size-bytes", 8 * 1024 * 1024

#: our own properties, which a snapshot with the same rows takes over from the one before
_OURS = "clickstream."

#: how often a commit looks at the table anew because another process was faster
_ATTEMPTS = 10


@dataclass(frozen=True)
class Compacted:
    """What a compaction did to a table: small files and their bytes, before and after; all 0 when there was no need.

    ``snapshot``: the one that it made. The bytes of the old files are free when the older snapshots have expired.
    """

    table: str
    partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    size_before: int = 0
    size_after: int = 0
    rows: int = 0
    snapshot: int | None = None


@dataclass(frozen=True)
class Expired:
    """What an expiry did to a table: snapshots that went and are kept, and the files that nothing refers to any more.

    ``size``: bytes of these, less the manifest lists, whose size nobody keeps.
    """

    table: str
    snapshots: int = 0
    kept: int = 0
    files: int = 0
    size: int = 0


def compact(
    lake: Lake,
    name: str,
    *,
    small: int = SMALL,
    least: int = LEAST,
    together: int = TOGETHER,
    up_to: int | None = None,
) -> Compacted:
    """Put the small data files of each partition together, where it has ``least`` of them; one commit for the table.

    The rows stay as they are and in their order; columns that were added since are null in them, as they were for every
    reader. Files are copied into the current schema. ``up_to``: only files whose Iceberg sequence number is at most
    this, which is for tables whose new files somebody follows: what he has not seen yet must stay as it is.

    The caller keeps other writers away from the table; where one comes all the same, the compaction begins again.

    Raises:
        PublishError: others kept changing the table all the time; or a new file has not the rows of the old ones.
    """
    return until_committed(
        lambda: _compact(lake, name, small, least, together, up_to),
        *(name, "put its small files together"),
        attempts=_ATTEMPTS,
    )


def _compact(lake: Lake, name: str, small: int, least: int, together: int, up_to: int | None) -> Compacted:
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    iceberg = lake.iceberg(name)
    groups = [] if iceberg is None else _groups(iceberg, small, least, together, up_to)
    if iceberg is None or not groups:
        return Compacted(name)
    old = [file for group in groups for file in group]
    made: list[DataFile] = []
    try:
        made += (_together(lake, iceberg, group) for group in groups)
        snapshot = _commit(iceberg, old, made)
    except (CommitFailedException, ValidationException):
        for file in made:
            lake.files.delete(lake.files.relative(_plain(file.file_path)))
        raise
    return Compacted(
        name,
        partitions=len({(file.spec_id, _partition(file)) for file in old}),
        files_before=len(old),
        files_after=len(made),
        size_before=sum(file.file_size_in_bytes for file in old),
        size_after=sum(file.file_size_in_bytes for file in made),
        rows=sum(file.record_count for file in made),
        snapshot=snapshot,
    )


@dataclass(frozen=True)
class Merged:
    """How many manifests a table had and has; the same number when there was no need."""

    table: str
    before: int = 0
    after: int = 0


def merge_manifests(lake: Lake, name: str, *, least: int = MANIFESTS) -> Merged:
    """Put the manifests of a table together, where it has ``least`` of them: one commit that changes no file.

    Each commit adds one, and whoever plans reads all of them: 1 ms each in a folder, a request each on S3. Commits
    themselves put them together when there are 100. They stay in the order in which they came, up to 8 MB each
    (Iceberg's ``commit.manifest.target-size-bytes``). Each file keeps which snapshot brought it.

    Raises:
        PublishError: others kept changing the table all the time.
    """
    return until_committed(lambda: _merge(lake, name, least), *(name, "put its manifests together"), attempts=_ATTEMPTS)


def _merge(lake: Lake, name: str, least: int) -> Merged:
    iceberg = lake.iceberg(name)
    current = iceberg.current_snapshot() if iceberg is not None else None
    if iceberg is None or current is None:
        return Merged(name)
    before = len(current.manifests(iceberg.io))
    target = int(iceberg.metadata.properties.get(_TARGET_SIZE, _DEFAULT_TARGET_SIZE))
    small = [one for one in current.manifests(iceberg.io) if one.manifest_length < target / 2]
    if len(small) < least:
        return Merged(name, before, before)
    own = iceberg.metadata.properties.get(_MERGE_FROM)
    enabled = iceberg.metadata.properties.get(_MERGES)
    with iceberg.transaction() as transaction:
        # An append of no file, which merges from two manifests on.
        transaction.set_properties({_MERGE_FROM: "2", _MERGES: "true"})
        _appending(transaction, _carried(iceberg))
        for key, value in ((_MERGE_FROM, own), (_MERGES, enabled)):
            transaction.set_properties({key: value}) if value is not None else transaction.remove_properties(key)
    merged = iceberg.current_snapshot()
    return Merged(name, before, len(merged.manifests(iceberg.io)) if merged else 0)


def _appending(transaction: Any, properties: dict[str, str]) -> None:
    with transaction.update_snapshot(snapshot_properties=properties).merge_append():
        pass


def _carried(iceberg: IcebergTable) -> dict[str, str]:
    """Properties of a snapshot that has the rows of the one before, and says so of itself."""
    current = iceberg.current_snapshot()
    before = current.summary.additional_properties if current and current.summary else {}
    return {name: value for name, value in before.items() if name.startswith(_OURS)} | {REWRITE: COMPACTION}


def expire(lake: Lake, name: str, *, older_than: timedelta, now: datetime | None = None) -> Expired:
    """Let go of the snapshots that have not been current since ``older_than`` ago.

    The current one is always kept, as is the one that was current at the horizon: every time since then can be asked
    for. Which code made the rows of the current snapshot stays known (``Lake.made_by``), and so does which snapshot
    brought each file: a file keeps that with itself, so what is compared with it is as before.

    Raises:
        PublishError: others kept changing the table all the time.
    """
    horizon = (now or datetime.now(UTC)) - older_than
    return until_committed(
        lambda: _expire(lake, name, int(horizon.timestamp() * 1000)),
        *(name, "let go of old snapshots"),
        attempts=_ATTEMPTS,
    )


def _expire(lake: Lake, name: str, horizon_ms: int) -> Expired:
    iceberg = lake.iceberg(name)
    if iceberg is None:
        return Expired(name)
    gone = _ended_before(iceberg, horizon_ms)
    snapshots = iceberg.metadata.snapshots
    if not gone:
        return Expired(name, kept=len(snapshots))
    kept = [snapshot for snapshot in snapshots if snapshot.snapshot_id not in gone]
    left = _files_of(iceberg, snapshots)
    for uri in _files_of(iceberg, kept):
        left.pop(uri, None)
    with iceberg.transaction() as transaction:
        if noted := _noted(iceberg, gone):
            transaction.set_properties({MADE_BY: noted})
        _expiry(transaction).by_ids(sorted(gone)).commit()
    return Expired(name, len(gone), len(kept), len(left), sum(left.values()))


def _expiry(transaction: Any) -> Any:
    from pyiceberg.table.update.snapshot import ExpireSnapshots

    return ExpireSnapshots(transaction)


def _ended_before(iceberg: IcebergTable, horizon_ms: int) -> set[int]:
    """Snapshots that another one had followed before the horizon, less those that a branch or tag names.

    Not the age of the snapshot counts: one of last year that was current until a minute ago has readers.
    """
    metadata = iceberg.metadata
    ended: dict[int, int] = {}
    for snapshot in metadata.snapshots:
        if snapshot.parent_snapshot_id is not None:
            parent = snapshot.parent_snapshot_id
            ended[parent] = max(ended.get(parent, 0), snapshot.timestamp_ms)
    named = {reference.snapshot_id for reference in metadata.refs.values()}
    return {
        snapshot.snapshot_id
        for snapshot in metadata.snapshots
        if snapshot.snapshot_id not in named and ended.get(snapshot.snapshot_id, snapshot.timestamp_ms) < horizon_ms
    }


def _noted(iceberg: IcebergTable, gone: Collection[int]) -> str | None:
    """Which code made the rows of files that stay and whose snapshots go; None where that is as noted before."""
    before = iceberg.metadata.properties.get(MADE_BY)
    known = makers(iceberg)
    if not known:
        return None
    in_summaries = {snapshot.snapshot_id for snapshot in iceberg.metadata.snapshots} - set(gone)
    current = iceberg.current_snapshot()
    manifests = current.manifests(iceberg.io) if current else []
    there = {entry.snapshot_id or 0 for manifest in manifests for entry in _entries(iceberg, manifest)}
    noted: dict[str, list[int]] = defaultdict(list)
    for snapshot in sorted((there & known.keys()) - in_summaries):
        noted[known[snapshot]].append(snapshot)
    text = json.dumps(noted, sort_keys=True)
    return None if text == (before or "{}") else text


def _files_of(iceberg: IcebergTable, snapshots: Iterable[IcebergSnapshot]) -> dict[str, int]:
    """Every file that snapshots refer to, with its bytes; manifest lists count none."""
    files: dict[str, int] = {}
    for snapshot in snapshots:
        files[snapshot.manifest_list] = 0
        for manifest in snapshot.manifests(iceberg.io):
            if manifest.manifest_path not in files:
                files[manifest.manifest_path] = manifest.manifest_length
                for entry in _entries(iceberg, manifest):
                    files[entry.data_file.file_path] = entry.data_file.file_size_in_bytes
    return files


def _entries(iceberg: IcebergTable, manifest: ManifestFile) -> list[ManifestEntry]:
    return manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)


def _groups(iceberg: IcebergTable, small: int, least: int, together: int, up_to: int | None) -> list[list[DataFile]]:
    """Small files of one partition each, in the order in which they came, for one new file each."""
    from pyiceberg.manifest import ManifestContent

    current = iceberg.current_snapshot()
    manifests = current.manifests(iceberg.io) if current else []
    if any(manifest.content != ManifestContent.DATA for manifest in manifests):
        return []  # another engine wrote deletes beside the files: their rows are not all there
    found: dict[tuple[Any, ...], list[tuple[int, str, DataFile]]] = defaultdict(list)
    for manifest in manifests:
        for entry in _entries(iceberg, manifest):
            file, sequence = entry.data_file, entry.sequence_number or 0
            # Files of an earlier partition spec stay: their rows may belong to several partitions of today's.
            if file.spec_id != iceberg.spec().spec_id or file.file_size_in_bytes >= small:
                continue
            if up_to is None or sequence <= up_to:
                found[_partition(file)].append((sequence, file.file_path, file))
    groups: list[list[DataFile]] = []
    for of_partition in found.values():
        if len(of_partition) < least:
            continue
        group, size = list[Any](), 0
        for _, _, file in sorted(of_partition, key=lambda one: one[:2]):
            if group and size + file.file_size_in_bytes > together:
                groups.append(group)
                group, size = [], 0
            group.append(file)
            size += file.file_size_in_bytes
        groups.append(group)
    return [group for group in groups if len(group) > 1]


def _partition(file: DataFile) -> tuple[Any, ...]:
    return tuple(file.partition[n] for n in range(len(file.partition)))


def _together(lake: Lake, iceberg: IcebergTable, group: list[DataFile]) -> DataFile:
    """The rows of some files as one new file beside the first of them.

    Raises:
        PublishError: it has not the rows that the old files have.
    """
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
    from pyiceberg.table import FileScanTask

    schema = iceberg.schema()
    # A table whose files have names only has a mapping for them; in others a column is its id, whatever it is called.
    plain = schema_to_pyarrow(schema, include_field_ids=iceberg.metadata.name_mapping() is None)
    scan = ArrowScan(iceberg.metadata, iceberg.io, schema, AlwaysTrue())
    uri = f"{group[0].file_path.rpartition('/')[0]}/{uuid.uuid4().hex}.parquet"
    path = lake.files.relative(_plain(uri))
    rows = 0
    with (
        lake.files.create(path) as sink,
        pq.ParquetWriter(sink, plain, compression="snappy", store_schema=False) as writer,
    ):
        for piece in _row_groups(scan.to_record_batches([FileScanTask(file) for file in group]), plain):
            writer.write_table(piece, row_group_size=ROW_GROUP)
            rows += piece.num_rows
    if rows != (expected := sum(file.record_count for file in group)):
        lake.files.delete(path)
        raise PublishError(
            f"{iceberg.name()[-1]}: {len(group)} files have {rows} rows together where their metadata says {expected}: "
            "nothing was changed; compare them with a backup."
        )
    like = group[0]
    return data_file(lake.files, path, iceberg.metadata, like.partition, like.spec_id)


def _row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Batches in pieces of a row group, since a Parquet file of tiny ones is slow to read."""
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        held.append(pa.Table.from_batches([batch]).cast(schema))
        count += batch.num_rows
        if count >= ROW_GROUP:
            yield pa.concat_tables(held)
            held, count = [], 0
    if count:
        yield pa.concat_tables(held)


def _commit(iceberg: IcebergTable, old: list[DataFile], made: list[DataFile]) -> int:
    """One snapshot that has the new files in place of the old ones, and says of itself that no row is another one."""
    with (
        iceberg.transaction() as transaction,
        transaction.update_snapshot(snapshot_properties=_carried(iceberg)).overwrite() as overwrite,
    ):
        for file in old:
            overwrite.delete_data_file(file)
        for file in made:
            overwrite.append_data_file(file)
    return int(overwrite.snapshot_id)


def _plain(uri: str) -> str:
    return uri.removeprefix("file://")
