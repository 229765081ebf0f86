"""Small files put together and old snapshots let go, on a folder with SQLite and on S3 with Glue."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import BooleanType, IntegerType, LongType, NestedField, StringType

from clickstream_assets.domains import domain
from clickstream_assets.errors import PublishError
from clickstream_assets.platform import Platform
from clickstream_assets.repair import pending_days
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW
from clickstream_assets.storage import maintenance, orphans
from clickstream_assets.storage.lake import Lake, Unregistered
from clickstream_assets.storage.maintenance import Compacted, Expired, Merged, compact, expire, merge_manifests
from clickstream_assets.storage.staged import StagedFile
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.storage.test_lake import MONDAY, TUESDAY, content, read, stage, through_iceberg, write
from clickstream_assets_tests.storage.test_lake import rows as cleaned_rows

NAME = "cdc.carts_history"
LATER = datetime.now(UTC) + timedelta(hours=1)
SCHEMA = pa.schema([("_open", pa.bool_()), ("_bucket", pa.int32()), ("key", pa.string()), ("amount", pa.int32())])


both = pytest.mark.parametrize("at", ["folder", "glue"], indirect=True)


@pytest.fixture
def at(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A folder with a catalog in SQLite; for tests of ``both`` also a bucket with the Glue catalog."""
    further = {}
    if getattr(request, "param", "folder") == "glue":
        request.getfixturevalue("on_glue")
        further = {"CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root"), "CLICKSTREAM_CATALOG": "glue"}
    return use_home(tmp_path / "home", monkeypatch, **further)


@pytest.fixture
def lake(at: Home) -> Lake:
    return at.platform.lake


@pytest.fixture
def declared(lake: Lake) -> IcebergTable:
    """A table as those of declared sources are: partitioned by two columns, of which one may be null."""
    return table_at(lake)


def table_at(lake: Lake, name: str = NAME) -> IcebergTable:
    schema = Schema(
        NestedField(1, "_open", BooleanType()),
        NestedField(2, "_bucket", IntegerType()),
        NestedField(3, "key", StringType()),
        NestedField(4, "amount", IntegerType()),
    )
    spec = PartitionSpec(
        PartitionField(1, 1000, IdentityTransform(), "_open"), PartitionField(2, 1001, IdentityTransform(), "_bucket")
    )
    lake._catalog.create_namespace_if_not_exists("cdc")
    location = lake.files.uri(lake.folder(Unregistered(name)))
    return lake._catalog.create_table(name, schema, location=location, partition_spec=spec)


def append(
    table: IcebergTable, keys: Sequence[str], bucket: int | None = 0, properties: Mapping[str, str] = {}
) -> None:
    """One commit with one file; amounts are the lengths of the keys."""
    given = [{"_open": True, "_bucket": bucket, "key": key, "amount": len(key)} for key in keys]
    table.refresh()
    table.append(pa.Table.from_pylist(given, SCHEMA), snapshot_properties=dict(properties))


def files_of(table: IcebergTable) -> dict[tuple[Any, ...], list[str]]:
    """Data files of the current snapshot by partition."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for task in table.refresh().scan().plan_files():
        partition = task.file.partition
        found.setdefault((partition[0], partition[1]), []).append(task.file.file_path)
    return found


def rows_of(table: IcebergTable, snapshot: int | None = None) -> list[tuple[Any, ...]]:
    found = table.refresh().scan(snapshot_id=snapshot).to_arrow().to_pylist()
    return sorted((tuple(row.values()) for row in found), key=repr)


def current(table: IcebergTable) -> int:
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def sweep(platform: Platform) -> dict[str, int]:
    """As a night one hour from now, with no horizon: what nothing refers to goes."""
    found = orphans.sweep(platform.lake, older_than=timedelta(0), now=LATER)
    assert not any(entry.left for entry in found), found
    return {entry.table.lake: entry.files for entry in found if entry.files}


# --- compaction ---


@both
def test_small_files_of_a_partition_become_one_and_the_rows_stay(lake: Lake, declared: IcebergTable) -> None:
    for n in range(6):
        append(declared, [f"a{n}", f"b{n}"], bucket=0)
        append(declared, [f"n{n}"], bucket=None)
    for n in range(4):
        append(declared, [f"c{n}"], bucket=1)
    before, files, snapshots = rows_of(declared), files_of(declared), len(declared.metadata.snapshots)
    old = current(declared)

    done = compact(lake, NAME)

    after = files_of(declared)
    assert {partition: len(paths) for partition, paths in after.items()} == {
        (True, 0): 1, (True, None): 1, (True, 1): 4
    }  # fmt: skip
    assert after[True, 1] == files[True, 1], "four files are too few to touch"
    assert rows_of(declared) == before
    assert rows_of(declared, old) == before, "a reader of the snapshot before finds its files"
    assert len(declared.metadata.snapshots) == snapshots + 1, "one commit"
    assert (done.partitions, done.files_before, done.files_after, done.rows) == (2, 12, 2, 18)
    assert done.snapshot == current(declared)
    assert 0 < done.size_after < done.size_before
    assert compact(lake, NAME) == Compacted(NAME), "there is no more to do"


def test_the_snapshot_says_that_it_is_a_rewrite_and_takes_over_what_the_one_before_said(
    lake: Lake, declared: IcebergTable
) -> None:
    for n in range(5):
        append(declared, [str(n)], properties={"clickstream.applied": str(n), "other": "x"})
    compact(lake, NAME)
    summary = declared.refresh().current_snapshot().summary.additional_properties  # type: ignore[union-attr]
    assert summary["clickstream.rewrite"] == "compaction"
    assert summary["clickstream.applied"] == "4"
    assert "other" not in summary
    append(declared, ["5"])
    summary = declared.refresh().current_snapshot().summary.additional_properties  # type: ignore[union-attr]
    assert "clickstream.rewrite" not in summary


@both
def test_files_of_another_schema_are_read_as_readers_read_them(lake: Lake, declared: IcebergTable) -> None:
    for n in range(3):
        append(declared, [f"{n}"])
    with declared.refresh().update_schema() as update:
        update.add_column("city", StringType())
        update.update_column("amount", LongType())
    wide = SCHEMA.append(pa.field("city", pa.string()))
    wide = wide.set(3, pa.field("amount", pa.int64()))
    for n in range(3):
        row = {"_open": True, "_bucket": 0, "key": f"w{n}", "amount": 2**40 + n, "city": "Ulm"}
        declared.refresh().append(pa.Table.from_pylist([row], wide))
    before = rows_of(declared)
    assert compact(lake, NAME).files_before == 6
    assert rows_of(declared) == before
    assert {row[4] for row in before} == {None, "Ulm"}
    append(declared, ["last"])  # the narrow type is still taken
    assert len(rows_of(declared)) == 7


def test_a_renamed_column_stays_what_it_is(lake: Lake, declared: IcebergTable) -> None:
    for n in range(5):
        append(declared, [f"{n}"])
    compact(lake, NAME)
    with declared.refresh().update_schema() as update:
        update.rename_column("key", "_key")
        update.delete_column("amount")
    with declared.refresh().update_schema() as update:
        update.add_column("amount", StringType())
    found = declared.refresh().scan(selected_fields=("_key", "amount")).to_arrow().to_pylist()
    assert sorted(row["_key"] for row in found) == ["0", "1", "2", "3", "4"]
    assert {row["amount"] for row in found} == {None}, "another column of that name"


def test_large_files_stay_and_new_ones_have_a_limit(lake: Lake, declared: IcebergTable) -> None:
    for n in range(6):
        append(declared, [f"{n}"])
    size = max(task.file.file_size_in_bytes for task in declared.refresh().scan().plan_files())
    assert compact(lake, NAME, small=1) == Compacted(NAME)
    done = compact(lake, NAME, together=size * 3)
    assert (done.files_before, done.files_after) == (6, 2)


def test_files_that_a_follower_has_not_seen_stay(lake: Lake, declared: IcebergTable) -> None:
    for n in range(8):
        append(declared, [f"{n}"])
    seen = declared.refresh().metadata.snapshots[5].sequence_number
    assert seen is not None
    files = files_of(declared)[True, 0]
    done = compact(lake, NAME, up_to=seen)
    assert done.files_before == 6
    left = files_of(declared)[True, 0]
    assert len(left) == 3 and len(set(left) & set(files)) == 2


@both
def test_deletes_by_partition_and_duckdb_work_on_what_was_put_together(lake: Lake, declared: IcebergTable) -> None:
    """The statistics of the new file are right: a wrong bound would make a scan miss it or a delete rewrite it."""
    for n in range(5):
        append(declared, [f"{n}"], bucket=0)
        append(declared, [f"x{n}"], bucket=None)
    compact(lake, NAME)
    scanned = declared.refresh().scan("key = '3' and amount = 1").to_arrow()
    assert scanned["key"].to_pylist() == ["3"]
    assert declared.scan("key = 'zzz'").to_arrow().num_rows == 0
    declared.delete("_bucket = 0")
    assert [row[2] for row in rows_of(declared)] == [f"x{n}" for n in range(5)]
    (paths,) = files_of(declared).values()
    plain = pq.read_table(lake.files.open_random(lake.files.relative(paths[0].removeprefix("file://"))))
    assert plain.schema.remove_metadata() == SCHEMA, "plain types, which every engine reads"


@both
def test_another_commit_meanwhile_is_kept_and_the_compaction_begins_again(
    lake: Lake, declared: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        append(declared, [f"{n}"])
    commit, times = maintenance._commit, list[int]()

    def late(iceberg: IcebergTable, *further: Any) -> int:
        if not times:
            times.append(1)
            append(lake.iceberg(NAME), ["meanwhile"])  # type: ignore[arg-type]
        return commit(iceberg, *further)

    monkeypatch.setattr(maintenance, "_commit", late)
    assert compact(lake, NAME).rows == 6
    assert sorted(row[2] for row in rows_of(declared)) == ["0", "1", "2", "3", "4", "meanwhile"]
    assert len(files_of(declared)[True, 0]) == 1


def test_a_table_that_others_change_all_the_time_is_left_with_a_sentence(
    lake: Lake, declared: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        append(declared, [f"{n}"])

    def refused(*_: Any) -> int:
        raise CommitFailedException("no")

    monkeypatch.setattr(maintenance, "_commit", refused)
    monkeypatch.setattr(maintenance, "_ATTEMPTS", 2)
    before = {file.path for file in lake.files.files("cdc/carts_history/data", hidden=True)}
    with pytest.raises(PublishError, match=r"cdc\.carts_history: other processes changed the table during each of 2"):
        compact(lake, NAME)
    assert {file.path for file in lake.files.files("cdc/carts_history/data", hidden=True)} == before, (
        "what was written is removed"
    )


@both
def test_nothing_there_is_nothing_to_do(lake: Lake) -> None:
    assert compact(lake, NAME) == Compacted(NAME)
    assert expire(lake, NAME, older_than=timedelta(0), now=LATER) == Expired(NAME)
    table_at(lake)
    assert compact(lake, NAME) == Compacted(NAME)
    assert expire(lake, NAME, older_than=timedelta(0), now=LATER) == Expired(NAME)


# --- manifests ---


def manifests_of(table: IcebergTable) -> list[str]:
    snapshot = table.refresh().current_snapshot()
    return [manifest.manifest_path for manifest in snapshot.manifests(table.io)] if snapshot else []


@both
def test_manifests_become_one_and_rows_files_and_older_snapshots_stay(
    at: Home, lake: Lake, declared: IcebergTable
) -> None:
    for n in range(7):
        append(declared, [f"{n}"], bucket=n % 3 or None, properties={"clickstream.applied": str(n)})
    old, before, files = current(declared), rows_of(declared), files_of(declared)
    brought = {task.file.file_path for task in declared.scan().plan_files()}
    properties = dict(declared.metadata.properties)
    assert merge_manifests(lake, NAME) == Merged(NAME, 7, 1)
    assert len(manifests_of(declared)) == 1
    assert (rows_of(declared), files_of(declared)) == (before, files)
    assert {task.file.file_path for task in declared.scan().plan_files()} == brought
    assert rows_of(declared, old) == before, "a reader of the snapshot before finds its files"
    assert declared.metadata.properties == properties
    summary = declared.current_snapshot().summary.additional_properties  # type: ignore[union-attr]
    assert summary["clickstream.rewrite"] == "compaction" and summary["clickstream.applied"] == "6"
    snapshots = len(declared.metadata.snapshots)
    assert merge_manifests(lake, NAME) == Merged(NAME, 1, 1), "there is no more to do"
    assert len(declared.refresh().metadata.snapshots) == snapshots
    expire(lake, NAME, older_than=timedelta(0), now=LATER)
    sweep(at.platform)
    assert rows_of(declared) == before
    declared.refresh().delete("_bucket = 1")
    assert len(rows_of(declared)) == 5


def test_few_manifests_and_large_ones_are_left_as_they_are(lake: Lake, declared: IcebergTable) -> None:
    assert merge_manifests(lake, "cdc.nothing") == Merged("cdc.nothing")
    assert merge_manifests(lake, NAME) == Merged(NAME)
    for n in range(4):
        append(declared, [f"{n}"])
    assert merge_manifests(lake, NAME) == Merged(NAME, 4, 4)
    append(declared, ["4"])
    with declared.refresh().transaction() as transaction:
        transaction.set_properties({"commit.manifest.target-size-bytes": "100"})
    assert merge_manifests(lake, NAME) == Merged(NAME, 5, 5)


@both
def test_which_snapshot_brought_a_file_stays_known_when_manifests_are_merged(lake: Lake) -> None:
    for user in "abcdef":
        kept = [
            StagedFile(lake.files.relative(file.uri), file.rows, file.day)
            for file in lake.snapshot(ECOMMERCE_CLEANED, [TUESDAY]).files
        ]
        lake.publish(dataclasses.replace(stage(lake, {TUESDAY: user}), kept=kept, made_by=f"code {user}"))
    was = lake.snapshot(ECOMMERCE_CLEANED)
    version = was.version(TUESDAY)
    assert merge_manifests(lake, ECOMMERCE_CLEANED.lake) == Merged(ECOMMERCE_CLEANED.lake, 6, 1)
    now = Lake(lake.files, lake.catalog).snapshot(ECOMMERCE_CLEANED)
    assert now.files == was.files and now.since(TUESDAY, version, 6) == []
    expire(lake, ECOMMERCE_CLEANED.lake, older_than=timedelta(0), now=LATER)
    assert lake.made_by(ECOMMERCE_CLEANED, {version or 0}) == {version: "code f"}
    assert read(lake) == {TUESDAY: list("abcdef")}


@both
def test_another_commit_meanwhile_is_kept_when_manifests_are_merged(
    lake: Lake, declared: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        append(declared, [f"{n}"])
    appending, times = maintenance._appending, list[int]()

    def late(*given: Any) -> None:
        if not times:
            times.append(1)
            append(lake.iceberg(NAME), ["meanwhile"])  # type: ignore[arg-type]
        appending(*given)

    monkeypatch.setattr(maintenance, "_appending", late)
    assert merge_manifests(lake, NAME).after == 1
    assert sorted(row[2] for row in rows_of(declared)) == ["0", "1", "2", "3", "4", "5", "meanwhile"]


# --- expiry ---


@both
def test_expiry_keeps_the_current_snapshot_and_tells_what_the_sweep_then_removes(
    at: Home, lake: Lake, declared: IcebergTable
) -> None:
    for n in range(5):
        append(declared, [f"{n}"])
    compact(lake, NAME)
    before = rows_of(declared)
    assert sweep(at.platform) == {}, "older snapshots need the small files"
    assert expire(lake, NAME, older_than=timedelta(hours=2), now=LATER) == Expired(NAME, kept=6)

    done = expire(lake, NAME, older_than=timedelta(0), now=LATER)

    assert (done.snapshots, done.kept) == (5, 1)
    assert rows_of(declared) == before
    removed = sweep(at.platform)
    assert removed == {NAME: done.files}, "five data files, their manifests and the lists of the snapshots"
    assert done.size > 0
    assert rows_of(declared) == before
    assert len(lake.files.files("cdc/carts_history/data", hidden=True)) == 1


def test_a_snapshot_that_was_current_within_the_horizon_is_kept_however_old_it_is(
    lake: Lake, declared: IcebergTable
) -> None:
    for n in range(3):
        append(declared, [f"{n}"])
    first, second, third = declared.refresh().metadata.snapshots
    horizon = datetime.fromtimestamp(second.timestamp_ms / 1000, UTC)
    # At the horizon the second took the first one's place: who opened the first just before still reads it.
    assert expire(lake, NAME, older_than=timedelta(0), now=horizon).snapshots == 0
    after = datetime.fromtimestamp((second.timestamp_ms + 1) / 1000, UTC)
    assert expire(lake, NAME, older_than=timedelta(0), now=after).snapshots == 1
    assert [s.snapshot_id for s in declared.refresh().metadata.snapshots] == [second.snapshot_id, third.snapshot_id]
    assert [row[2] for row in rows_of(declared, second.snapshot_id)] == ["0", "1"]
    assert first.snapshot_id not in {s.snapshot_id for s in declared.metadata.snapshots}


def test_snapshots_with_a_name_are_kept(lake: Lake, declared: IcebergTable) -> None:
    for n in range(3):
        append(declared, [f"{n}"])
    first = declared.refresh().metadata.snapshots[0].snapshot_id
    declared.manage_snapshots().create_tag(first, "audit").commit()
    assert expire(lake, NAME, older_than=timedelta(0), now=LATER).snapshots == 1
    assert [row[2] for row in rows_of(declared, first)] == ["0"]


@both
def test_versions_and_what_came_since_are_the_same_after_expiry(lake: Lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c"}))
    was = lake.snapshot(ECOMMERCE_CLEANED)
    old = lake.snapshot(ECOMMERCE_CLEANED).of(MONDAY)
    for user in "xyz":
        lake.publish(stage(lake, {TUESDAY: user}))
    before = lake.snapshot(ECOMMERCE_CLEANED)
    done = expire(lake, ECOMMERCE_CLEANED.lake, older_than=timedelta(0), now=LATER)
    assert done.snapshots > 0 and done.kept == 1
    fresh = Lake(lake.files, lake.catalog).snapshot(ECOMMERCE_CLEANED)
    assert fresh == before
    assert fresh.version(MONDAY) == was.version(MONDAY)
    assert fresh.since(MONDAY, was.version(MONDAY), was.rows(MONDAY)) == []
    assert fresh.since(TUESDAY, was.version(TUESDAY), was.rows(TUESDAY)) is None
    assert fresh.of(MONDAY) == old
    assert read(lake) == {MONDAY: ["a", "b"], TUESDAY: ["z"]} and len(through_iceberg(lake)) == 3
    lake.publish(stage(lake, {MONDAY: "d"}))
    assert read(lake) == {MONDAY: ["d"], TUESDAY: ["z"]}


@both
def test_which_code_made_the_rows_stays_known_and_what_nobody_needs_is_forgotten(lake: Lake) -> None:
    def publish(day: Any, user: str, made_by: str) -> int:
        lake.publish(dataclasses.replace(stage(lake, {day: user}), made_by=made_by))
        return int(lake.snapshot(ECOMMERCE_CLEANED).version(day) or 0)

    monday = publish(MONDAY, "a", "code 1")
    tuesday = publish(TUESDAY, "b", "code 2")
    again = publish(TUESDAY, "c", "code 2")
    for _ in range(2):
        expire(lake, ECOMMERCE_CLEANED.lake, older_than=timedelta(0), now=LATER)
        assert lake.made_by(ECOMMERCE_CLEANED, {monday, tuesday, again}) == {monday: "code 1", again: "code 2"}
    last = publish(MONDAY, "d", "code 3")
    expire(lake, ECOMMERCE_CLEANED.lake, older_than=timedelta(0), now=LATER)
    assert lake.made_by(ECOMMERCE_CLEANED, {monday, tuesday, again, last}) == {again: "code 2", last: "code 3"}


@both
def test_expiry_gives_way_to_a_commit_that_came_first(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in "abc":
        lake.publish(stage(lake, {MONDAY: user}))
    expiry, times = maintenance._expiry, list[int]()

    def late(transaction: Any) -> Any:
        if not times:
            times.append(1)
            lake.publish(stage(lake, {TUESDAY: ["new"]}))
        return expiry(transaction)

    monkeypatch.setattr(maintenance, "_expiry", late)
    assert expire(lake, ECOMMERCE_CLEANED.lake, older_than=timedelta(0), now=LATER).snapshots > 0
    assert read(lake) == {MONDAY: ["c"], TUESDAY: ["new"]} and len(through_iceberg(lake)) == 2


def test_runs_find_nothing_pending_after_expiry_and_a_late_row_costs_its_hours_only(home: Home) -> None:
    day = "2024-03-01"
    home.land(day, "a.csv", "1,1,2024-03-01 10:00:00,page_view,,,")
    home.run(day)
    home.land(day, "b.csv", "2,2,2024-03-01 11:00:00,page_view,,,")
    home.run(day)
    tables = home.tables()
    lake = home.platform.lake
    for table in (ECOMMERCE_RAW, ECOMMERCE_CLEANED):
        assert expire(lake, table.lake, older_than=timedelta(0), now=LATER).snapshots > 0
    with home.platform.exclusive("ecommerce", "a test"):
        assert sweep(home.platform)
    assert pending_days(home.platform, domain("ecommerce")) == []
    assert home.tables() == tables, "the warehouse's views stand on files that are still there"


# --- the tables that the registry does not list ---


@both
def test_the_sweep_finds_what_is_left_of_declared_tables(at: Home, lake: Lake, declared: IcebergTable) -> None:
    append(declared, ["a"])
    table_at(lake, "cdc.carts")
    lake.files.write("cdc/carts_history/data/left.parquet", b"left")
    lake.files.write("cdc/carts/data/left.parquet", b"left")
    lake.files.write("cdc/unknown/data/mine.parquet", b"mine")
    assert lake.tables("cdc") == ["cdc.carts", NAME]
    assert lake.tables("nothing") == []
    assert sweep(at.platform) == {"cdc.carts": 1, NAME: 1}
    assert lake.files.read("cdc/unknown/data/mine.parquet") == b"mine"
    assert [row[2] for row in rows_of(declared)] == ["a"]


def test_a_snapshot_of_the_lake_is_readable_after_a_compaction_of_it(lake: Lake) -> None:
    for n in range(5):
        staged = stage(lake, {MONDAY: [f"{n}"]})
        kept = [
            StagedFile(lake.files.relative(file.uri), file.rows, file.day)
            for file in lake.snapshot(ECOMMERCE_CLEANED).files
        ]
        lake.publish(type(staged)(staged.table, [MONDAY], staged.files, [], [], "r", kept))
    old = lake.snapshot(ECOMMERCE_CLEANED)
    assert compact(lake, ECOMMERCE_CLEANED.lake).files_before == 5
    new = lake.snapshot(ECOMMERCE_CLEANED)
    assert len(new.files) == 1 and new.rows(MONDAY) == 5 and new.files[0].partition == old.files[0].partition
    assert content(lake, old) == content(lake, new) == {MONDAY: ["0", "1", "2", "3", "4"]}
    assert lake.columns_of(new.files[0]) == lake.columns_of(old.files[0])
    lake.publish(
        type(staged)(
            staged.table, [MONDAY], [write(lake, staged.table, MONDAY, cleaned_rows(MONDAY, ["z"]))], [], [], "r"
        )
    )
    assert read(lake) == {MONDAY: ["z"]}
