"""Publishing to the lake: real Parquet files, real Iceberg tables, a real catalog, and several processes."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.errors import ClickstreamError, PublishError
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, QUARANTINE, Table
from clickstream_assets.settings import Catalog
from clickstream_assets.storage import files
from clickstream_assets.storage import lake as lake_module
from clickstream_assets.storage.lake import Lake, Snapshot, StagedWriter
from clickstream_assets.storage.staged import Staged, StagedFile
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.forked import FORKS

TABLE = ECOMMERCE_CLEANED
FIRST = date(2026, 3, 1)
MONDAY, TUESDAY, WEDNESDAY = (FIRST + timedelta(days=n) for n in (1, 2, 3))
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture(params=["folder", "bucket", "glue"])
def lake(request: pytest.FixtureRequest, home: Home) -> Lake:
    """A folder or a bucket with a catalog in SQLite, and a bucket with the Glue catalog."""
    if request.param == "folder":
        return home.platform.lake
    further = {"CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root")}
    if request.param == "glue":
        request.getfixturevalue("on_glue")
        further["CLICKSTREAM_CATALOG"] = "glue"
    return Home(home.path, further).platform.lake


def rows(day: date | None, users: Sequence[str]) -> pa.Table:
    """Rows of the cleaned table, one per user."""
    full = [
        {
            "event_id": f"{day}-{user}", "user_id": user, "event_timestamp": NOW, "event_date": day,
            "amount": Decimal("1.50"), "source_line": number, "processed_at": NOW, "ingestion_date": day,
        }
        for number, user in enumerate(users, start=2)
    ]  # fmt: skip
    return pa.Table.from_pylist(full, TABLE.arrow)


def write(lake: Lake, table: Table, day: date, content: pa.Table, **options: Any) -> StagedFile:
    """A staged file of a day with whatever content."""
    path = lake.new_path(table, day)
    with lake.files.create(path) as stream:
        pq.write_table(content, stream, **{"store_schema": False, **options})
    return StagedFile(path, content.num_rows, day)


def stage(lake: Lake, days: dict[date, Sequence[str]], *, table: Table = TABLE, rejected: Sequence[str] = ()) -> Staged:
    """One file per day that has users; ``rejected`` names the rules of rejected rows of each day."""
    files = [write(lake, table, day, rows(day, users)) for day, users in days.items() if users]
    quarantine = [write(lake, QUARANTINE, day, refused(table.name, day, rejected)) for day in days if rejected]
    return Staged(table, list(days), files, quarantine, [], "a-run")


def refused(asset: str, day: date, rules: Sequence[str]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"asset": asset, "rule": rule, "quarantined_at": NOW, "partition_date": day, "run_id": "r"} for rule in rules],
        QUARANTINE.arrow,
    )


def read(lake: Lake, table: Table = TABLE, column: str = "user_id") -> dict[date, list[str]]:
    """What a reader finds in the published files."""
    return content(lake, lake.snapshot(table), column)


def content(lake: Lake, snapshot: Snapshot, column: str = "user_id") -> dict[date, list[str]]:
    found: dict[date, list[str]] = {}
    for file in snapshot.files:
        values = opened(lake, file.uri).read(columns=[column]).column(0).to_pylist()
        assert len(values) == file.rows
        found.setdefault(file.day, []).extend(values)
    return {day: sorted(values) for day, values in found.items()}


def opened(lake: Lake, uri: str) -> pq.ParquetFile:
    return pq.ParquetFile(lake.files.open_random(lake.files.relative(uri)))


def through_iceberg(lake: Lake, table: Table = TABLE) -> list[tuple[Any, ...]]:
    """The rows as pyiceberg itself reads them: by field ids, with deletes, partitions from metadata."""
    found = lake._catalog.load_table(table.lake).scan(selected_fields=("user_id", table.day)).to_arrow()
    return sorted((entry["user_id"], entry[table.day]) for entry in found.to_pylist())


def test_a_table_that_nobody_published_is_empty_and_has_no_snapshot(lake) -> None:
    snapshot = lake.snapshot(TABLE)
    assert (snapshot.id, snapshot.files, snapshot.uris) == (None, (), [])
    assert snapshot.rows(MONDAY) == 0 and snapshot.version(MONDAY) is None


def test_publishing_nothing_to_a_table_that_is_not_there_makes_none(lake) -> None:
    assert lake.publish(stage(lake, {MONDAY: []})).id is None
    assert lake.snapshot(QUARANTINE).id is None


def test_publish_replaces_exactly_the_staged_days(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "cd", WEDNESDAY: "ef"}))
    before = lake.snapshot(TABLE)
    returned = lake.publish(stage(lake, {TUESDAY: "x", WEDNESDAY: "yz"}))
    assert content(lake, returned) == {TUESDAY: ["x"], WEDNESDAY: ["y", "z"]}
    assert read(lake) == {MONDAY: ["a", "b"], TUESDAY: ["x"], WEDNESDAY: ["y", "z"]}
    assert through_iceberg(lake) == [
        ("a", MONDAY), ("b", MONDAY), ("x", TUESDAY), ("y", WEDNESDAY), ("z", WEDNESDAY)
    ]  # fmt: skip
    monday = [file for file in before.files if file.day == MONDAY]
    assert [file for file in lake.snapshot(TABLE).files if file.day == MONDAY] == monday, "an unrelated day was touched"


def test_a_day_replaced_by_nothing_is_empty_and_its_neighbours_are_not(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c"}))
    lake.publish(stage(lake, {MONDAY: [], TUESDAY: "d"}))
    assert read(lake) == {TUESDAY: ["d"]}
    lake.publish(stage(lake, {TUESDAY: []}))
    assert read(lake) == {} and through_iceberg(lake) == []
    assert lake.snapshot(TABLE).id is not None


@pytest.mark.filterwarnings("error")
def test_replacing_nothing_by_nothing_commits_nothing(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}, rejected=["bad_amount"]))
    before = lake.snapshot(TABLE).id, lake.snapshot(QUARANTINE).id
    lake.publish(stage(lake, {TUESDAY: [], WEDNESDAY: []}))
    lake.publish(Staged(TABLE, [], [], [], [], "r"))
    assert (lake.snapshot(TABLE).id, lake.snapshot(QUARANTINE).id) == before


def test_the_same_rows_published_again_are_there_once(lake) -> None:
    for _ in range(3):
        lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c"}, rejected=["bad_amount"]))
    assert read(lake) == {MONDAY: ["a", "b"], TUESDAY: ["c"]}
    assert read(lake, QUARANTINE, "rule") == {MONDAY: ["bad_amount"], TUESDAY: ["bad_amount"]}


def test_many_days_with_several_files_each_are_one_commit(lake) -> None:
    days = [FIRST + timedelta(days=n) for n in range(60)]
    files = [write(lake, TABLE, day, rows(day, [user])) for day in days for user in "ab"]
    lake.publish(Staged(TABLE, days, files, [], [], "r"))
    snapshot = lake.snapshot(TABLE)
    assert content(lake, snapshot) == {day: ["a", "b"] for day in days}
    assert {file.added for file in snapshot.files} == {snapshot.id}
    lake.publish(stage(lake, dict.fromkeys(days[1:], "")))
    assert read(lake) == {days[0]: ["a", "b"]}


def test_a_snapshot_of_some_days_has_their_files_only(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c", WEDNESDAY: "d"}))
    some = lake.snapshot(TABLE, [MONDAY, WEDNESDAY, FIRST])
    assert content(lake, some) == {MONDAY: ["a", "b"], WEDNESDAY: ["d"]}
    assert (some.rows(MONDAY), some.rows(TUESDAY), some.rows(FIRST)) == (2, 0, 0)
    assert lake.snapshot(TABLE, []).files == ()
    assert some.id == lake.snapshot(TABLE).id


def test_a_snapshot_that_was_taken_stays_readable(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab"}))
    old = lake.snapshot(TABLE)
    lake.publish(stage(lake, {MONDAY: "c"}))
    assert content(lake, old) == {MONDAY: ["a", "b"]}
    assert old.id != lake.snapshot(TABLE).id


def test_the_version_of_a_day_changes_exactly_when_the_day_does(lake) -> None:
    days = (MONDAY, TUESDAY, WEDNESDAY)

    def versions() -> list[int | None]:
        return [lake.snapshot(TABLE).version(day) for day in days]

    lake.publish(stage(lake, {MONDAY: "a", TUESDAY: "b"}))
    first = versions()
    assert first[0] == first[1] == lake.snapshot(TABLE).id and first[2] is None
    lake.publish(stage(lake, {TUESDAY: "c", WEDNESDAY: "d"}))
    second = versions()
    assert second[0] == first[0] and second[1] == second[2] not in (None, first[1])
    lake.publish(stage(lake, {TUESDAY: ""}))
    assert versions() == [first[0], None, second[2]]
    for n in range(12):  # manifests are merged meanwhile
        lake.publish(stage(lake, {FIRST - timedelta(days=n): "z"}))
    assert versions() == [first[0], None, second[2]]
    assert lake.snapshot(TABLE, [MONDAY]).version(MONDAY) == first[0]


def mutated(name: str) -> pa.Table:
    good = rows(MONDAY, "ab")
    day = good.schema.get_field_index("ingestion_date")
    by_name = {
        "no day": good.drop_columns(["ingestion_date"]),
        "another order": good.select([*reversed(good.column_names[:2]), *good.column_names[2:]]),
        "one more column": good.append_column("more", pa.array(["x", "y"])),
        "one less column": good.drop_columns(["outcome"]),
        "another name": good.rename_columns(["Event_ID", *good.column_names[1:]]),
        "text day": good.set_column(day, "ingestion_date", pa.array(["2026-03-02"] * 2)),
        "wider amount": good.set_column(7, "amount", good.column("amount").cast(pa.decimal128(14, 4))),
        "double amount": good.set_column(7, "amount", pa.array([1.5, 1.5])),
        "32-bit line": good.set_column(10, "source_line", good.column("source_line").cast(pa.int32())),
        "nanoseconds": good.set_column(3, "event_timestamp", pa.array([NOW] * 2, pa.timestamp("ns", "UTC"))),
        "no time zone": good.set_column(3, "event_timestamp", pa.array([datetime(2026, 3, 2)] * 2, pa.timestamp("us"))),
        "rows of another day": rows(TUESDAY, "ab"),
        "one row of another day": pa.concat_tables([good, rows(TUESDAY, "c")]),
        "null days": rows(None, "ab"),
        "one null day": pa.concat_tables([good, rows(None, "c")]),
        "no rows": good.slice(0, 0),
    }
    return by_name[name]


@pytest.mark.parametrize(
    ("fault", "message"),
    {
        "no day": "no .*ingestion_date", "another order": "another order", "one more column": "more",
        "one less column": "no .*outcome", "another name": "Event_ID", "text day": "ingestion_date",
        "wider amount": r"14, 4.*12, 2", "double amount": "amount", "32-bit line": "source_line",
        "nanoseconds": "event_timestamp", "no time zone": "event_timestamp",
        "rows of another day": "outside 2026-03-02",
        "one row of another day": "outside 2026-03-02", "null days": "outside 2026-03-02",
        "one null day": "outside 2026-03-02", "no rows": "2026-03-02",
    }.items(),
)  # fmt: skip
def test_a_file_that_is_not_the_tables_is_refused_and_nothing_changes(lake, fault, message) -> None:
    lake.publish(stage(lake, {MONDAY: "old", TUESDAY: "t"}, rejected=["bad_amount"]))
    before = lake.snapshot(TABLE), lake.snapshot(QUARANTINE)
    good = write(lake, TABLE, TUESDAY, rows(TUESDAY, "new"))
    bad = write(lake, TABLE, MONDAY, mutated(fault))
    with pytest.raises(PublishError, match=message):
        lake.publish(Staged(TABLE, [MONDAY, TUESDAY], [good, bad], [], [], "r"))
    assert (lake.snapshot(TABLE), lake.snapshot(QUARANTINE)) == before


def test_one_row_group_of_another_day_is_enough_to_refuse_a_file(lake) -> None:
    table = pa.concat_tables([rows(MONDAY, "abc"), rows(TUESDAY, "d")])
    with pytest.raises(PublishError, match="outside"):
        lake.publish(Staged(TABLE, [MONDAY], [write(lake, TABLE, MONDAY, table, row_group_size=3)], [], [], "r"))


def test_a_file_without_statistics_is_refused(lake) -> None:
    file = write(lake, TABLE, MONDAY, rows(MONDAY, "a"), write_statistics=False)
    with pytest.raises(PublishError):
        lake.publish(Staged(TABLE, [MONDAY], [file], [], [], "r"))


def test_a_file_of_a_day_that_was_not_asked_for_is_refused(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    staged = stage(lake, {MONDAY: "b", TUESDAY: "c"})
    with pytest.raises(PublishError, match="2026-03-03, which this run did not ask for"):
        lake.publish(dataclasses.replace(staged, days=[MONDAY]))
    assert read(lake) == {MONDAY: ["a"]}


def test_a_bad_quarantine_file_keeps_the_table_from_being_published_too(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    wrong = write(lake, QUARANTINE, MONDAY, refused(TABLE.name, TUESDAY, ["bad_amount"]))
    staged = dataclasses.replace(stage(lake, {MONDAY: "b"}), quarantine=[wrong])
    with pytest.raises(PublishError, match=r"ops\.quarantine"):
        lake.publish(staged)
    assert read(lake) == {MONDAY: ["a"]} and lake.snapshot(QUARANTINE).id is None


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "+00:00"])
def test_utc_is_utc_under_every_name(lake, zone) -> None:
    table = rows(MONDAY, "ab")
    times = pa.array([NOW, NOW], pa.timestamp("us", zone))
    for position in (3, table.schema.get_field_index("processed_at")):
        table = table.set_column(position, table.column_names[position], times)
    # with the Arrow schema in the footer the zone's name survives the file
    lake.publish(Staged(TABLE, [MONDAY], [write(lake, TABLE, MONDAY, table, store_schema=True)], [], [], "r"))
    found = lake._catalog.load_table(TABLE.lake).scan().to_arrow()
    assert found.column("event_timestamp").to_pylist() == [NOW, NOW]


def test_readers_see_the_old_rows_or_the_new_ones_while_others_publish(lake) -> None:
    """Monday and Tuesday always change together; a reader in its own thread and catalog looks on."""
    lake.publish(stage(lake, {MONDAY: "0", TUESDAY: "0"}))
    reader = Lake(files.at(lake.files.root), lake.catalog)
    seen: list[dict[date, list[str]]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(read(reader))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for n in range(1, 6):
            lake.publish(stage(lake, {MONDAY: str(n), TUESDAY: str(n)}))
    finally:
        done.set()
        thread.join(30)
    states = [(found.get(MONDAY), found.get(TUESDAY)) for found in seen]
    assert states and all(monday == tuesday and monday for monday, tuesday in states), states
    assert states == sorted(states), "a reader went back in time"


class CutShort(list[StagedFile]):
    """Staged files that can be read once, to be verified; the process is interrupted when they are committed."""

    reads = 0

    def __iter__(self) -> Iterator[StagedFile]:
        self.reads += 1
        if self.reads > 1:
            raise KeyboardInterrupt
        return super().__iter__()


def test_an_interrupt_between_deleting_and_adding_leaves_the_table_as_it_was(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c"}))
    before = lake.snapshot(TABLE)
    staged = stage(lake, {MONDAY: "x", TUESDAY: "y"})
    with pytest.raises(KeyboardInterrupt):
        lake.publish(dataclasses.replace(staged, files=CutShort(staged.files)))
    assert lake.snapshot(TABLE) == before
    assert through_iceberg(lake) == [("a", MONDAY), ("b", MONDAY), ("c", TUESDAY)]
    lake.publish(staged)
    assert read(lake) == {MONDAY: ["x"], TUESDAY: ["y"]}


def test_a_staged_file_that_is_gone_leaves_the_table_as_it_was(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "ab"}))
    staged = stage(lake, {MONDAY: "x"})
    lake.files.delete(staged.files[0].path)
    with pytest.raises((FileNotFoundError, ClickstreamError)):
        lake.publish(staged)
    assert read(lake) == {MONDAY: ["a", "b"]}


def test_a_lake_goes_on_after_what_it_refused_and_what_failed(lake) -> None:
    """The same object; and what was refused is published when it is mended."""
    lake.publish(stage(lake, {MONDAY: "ab", TUESDAY: "c"}))
    bad = write(lake, TABLE, MONDAY, mutated("another order"))
    with pytest.raises(PublishError):
        lake.publish(Staged(TABLE, [MONDAY], [bad], [], [], "r"))
    lake.publish(stage(lake, {MONDAY: "x"}))
    with pytest.raises(PublishError):
        lake.publish(dataclasses.replace(stage(lake, {MONDAY: "y", WEDNESDAY: "z"}), days=[MONDAY]))
    gone = stage(lake, {MONDAY: "g"})
    lake.files.delete(gone.files[0].path)
    with pytest.raises((FileNotFoundError, ClickstreamError)):
        lake.publish(gone)
    lake.publish(dataclasses.replace(gone, files=[write(lake, TABLE, MONDAY, rows(MONDAY, "new"))]))
    lake.publish(stage(lake, {TUESDAY: []}))
    assert read(lake) == {MONDAY: ["e", "n", "w"]}
    assert through_iceberg(lake) == [("e", MONDAY), ("n", MONDAY), ("w", MONDAY)]


def test_a_registry_with_its_columns_in_another_order_is_refused_whatever_the_files_have(lake) -> None:
    """Iceberg would read by name, but Redshift loads by position."""
    lake.publish(stage(lake, {MONDAY: "a"}))
    first, second, *others = TABLE.columns
    assert first.type == second.type
    changed = dataclasses.replace(TABLE, columns=(second, first, *others))
    with pytest.raises(PublishError, match="another order"):
        lake.publish(stage(lake, {TUESDAY: "b"}, table=changed))
    file = write(lake, changed, TUESDAY, rows(TUESDAY, "b").select(changed.arrow.names))
    with pytest.raises(PublishError, match="put them in the order event_id, user_id"):
        lake.publish(Staged(changed, [TUESDAY], [file], [], [], "r"))
    assert through_iceberg(lake) == [("a", MONDAY)]


def quarantine(lake: Lake) -> dict[tuple[str, date], str]:
    """Rules and the file by asset and day."""
    found = {}
    for file in lake.snapshot(QUARANTINE).files:
        table = opened(lake, file.uri).read(columns=["asset", "rule"])
        (asset,) = set(table.column("asset").to_pylist())
        assert (asset, file.day) not in found
        found[asset, file.day] = ",".join(table.column("rule").to_pylist()) + " " + file.uri
    return found


def rules(lake: Lake) -> dict[tuple[str, date], str]:
    return {key: value.partition(" ")[0] for key, value in quarantine(lake).items()}


def test_quarantine_is_replaced_for_the_asset_and_its_days_only(lake) -> None:
    other = dataclasses.replace(TABLE, name="clickstream.events_cleaned", lake="clickstream_cleaned.events_cleaned")
    for table in (TABLE, other):
        lake.publish(stage(lake, {MONDAY: "a", TUESDAY: "b"}, table=table, rejected=["bad_amount", "bad_amount"]))
    lake.publish(stage(lake, {MONDAY: "a"}, rejected=["bad_timestamp"]))
    assert rules(lake) == {
        (TABLE.name, MONDAY): "bad_timestamp", (TABLE.name, TUESDAY): "bad_amount,bad_amount",
        (other.name, MONDAY): "bad_amount,bad_amount", (other.name, TUESDAY): "bad_amount,bad_amount",
    }  # fmt: skip
    lake.publish(stage(lake, {MONDAY: "a", TUESDAY: "b"}))
    assert rules(lake) == {(other.name, day): "bad_amount,bad_amount" for day in (MONDAY, TUESDAY)}


def test_assets_whose_long_names_begin_alike_leave_each_others_files_alone(lake) -> None:
    """Iceberg cuts bounds at 16 characters by default: a delete would then read and rewrite the others' files."""
    names = ["clickstream_cleaned.events_cleaned_of_shops", "clickstream_cleaned.events_cleaned_of_blogs",
             "clickstream_cleaned.events_cleaned_of_shop", "clickstream_cleaned",
             "clickstream_cleane"]  # fmt: skip
    tables = [dataclasses.replace(TABLE, name=name, lake=f"long.t{n}") for n, name in enumerate(names)]
    for table in tables:
        lake.publish(stage(lake, {MONDAY: "a", TUESDAY: "b"}, table=table, rejected=["bad_amount"]))
    before = quarantine(lake)
    assert len(before) == 2 * len(names)
    listed = {info.path for info in lake.files.files("ops/quarantine/data")}
    lake.publish(stage(lake, {MONDAY: "a"}, table=tables[0]))
    after = quarantine(lake)
    assert after == {key: file for key, file in before.items() if key != (names[0], MONDAY)}
    assert {info.path for info in lake.files.files("ops/quarantine/data")} == listed, "a data file was written anew"


def test_many_files_of_one_day_are_deleted_without_being_rewritten(lake) -> None:
    lake.publish(stage(lake, {MONDAY: [f"u{n}" for n in range(50)], TUESDAY: "t"}))
    listed = {info.path for info in lake.files.files("ecommerce_cleaned/events_cleaned/data")}
    lake.publish(stage(lake, {MONDAY: ""}))
    assert {info.path for info in lake.files.files("ecommerce_cleaned/events_cleaned/data")} == listed


class Overtaken(list[StagedFile]):
    """Staged files whose commit is overtaken: when they are committed, another process publishes first."""

    def __init__(self, files: Sequence[StagedFile], other: Callable[[], object]):
        super().__init__(files)
        self.other = other
        self.reads = 0

    def __iter__(self) -> Iterator[StagedFile]:
        self.reads += 1
        if self.reads == 2:
            self.other()
        return super().__iter__()


@pytest.mark.parametrize("before", ["old", ""], ids=["a day with rows", "a new day"])
def test_the_last_of_two_that_publish_one_day_at_once_replaces_the_other(lake, before) -> None:
    lake.publish(stage(lake, {MONDAY: before, TUESDAY: "t"}))
    second = Lake(files.at(lake.files.root), lake.catalog)
    faster, slower = stage(lake, {MONDAY: "f"}), stage(lake, {MONDAY: "s"})
    lake.publish(dataclasses.replace(slower, files=Overtaken(slower.files, lambda: second.publish(faster))))
    assert read(lake) == {MONDAY: ["s"], TUESDAY: ["t"]}


#: a day that every process publishes
SHARED = date(2026, 5, 1)


def publish_days(aws: dict[str, str], root: str, catalog: Catalog, worker: int, commits: int) -> None:
    """One process's work: several commits to days of its own, each twice, and in between one to a day of all."""
    os.environ.update(aws)
    lake = Lake(files.at(root), catalog)
    for n in range(commits):
        day = FIRST + timedelta(days=worker * 10 + n // 2)
        lake.publish(stage(lake, {day: [f"{worker}-{n}-{user}" for user in "abc"]}, rejected=[f"rule_{worker}_{n}"]))
        if n == 0:
            lake.publish(stage(lake, {SHARED: [str(worker)] * 3}, rejected=["shared"]))


@pytest.mark.parametrize("existing", [True, False], ids=["an existing table", "a table that all of them create"])
def test_four_processes_that_publish_at_once_lose_nothing_and_double_nothing(lake, existing) -> None:
    expected, listed = {}, {}
    if existing:
        lake.publish(stage(lake, {MONDAY - timedelta(days=9): "a"}, rejected=["old"]))
        expected[MONDAY - timedelta(days=9)], listed[MONDAY - timedelta(days=9)] = ["a"], ["old"]
    commits = 4
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    workers = [
        FORKS.Process(target=publish_days, args=(aws, lake.files.root, lake.catalog, n, commits)) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    try:
        assert [worker.exitcode for worker in workers] == [0] * 4
    finally:
        for worker in workers:
            worker.kill()
    for number in range(4):
        for n in range(1, commits, 2):
            day = FIRST + timedelta(days=number * 10 + n // 2)
            expected[day] = [f"{number}-{n}-{user}" for user in "abc"]
            listed[day] = [f"rule_{number}_{n}"]
    found = read(lake)
    shared = found.pop(SHARED)
    assert found == expected
    assert len(shared) == 3 and len(set(shared)) == 1, "the day of all is one process's, whole"
    assert read(lake, QUARANTINE, "rule") == {**listed, SHARED: ["shared"]}


def test_an_engines_files_are_adopted_and_its_folder_is_gone(lake) -> None:
    staging = lake.new_staging_folder(TABLE)

    def put(name: str, content: pa.Table | None = None) -> None:
        with lake.files.create(f"{staging}/{name}") as stream:
            if content is not None:
                pq.write_table(content, stream)

    for day, users in ((MONDAY, "ab"), (TUESDAY, "c"), (WEDNESDAY, "")):
        put(f"_day={day}/part-00000-abc.snappy.parquet", rows(day, users))
        put(f"_day={day}/.part-00000-abc.snappy.parquet.crc")
    put(f"_day={MONDAY}/part-00001-abc.snappy.parquet", rows(MONDAY, "d"))
    put("_SUCCESS")
    adopted = lake.adopt(TABLE, staging)
    assert sorted((file.day, file.rows) for file in adopted) == [(MONDAY, 1), (MONDAY, 2), (TUESDAY, 1)]
    for file in adopted:
        assert file.path.startswith(f"ecommerce_cleaned/events_cleaned/data/ingestion_date={file.day}/")
    left = {info.path for info in lake.files.files(lake.folder(TABLE), hidden=True)}
    assert left == {file.path for file in adopted}, "neither the folder nor a file without rows is left behind"
    assert lake.snapshot(TABLE).id is None, "adopting does not publish"
    lake.publish(Staged(TABLE, [MONDAY, TUESDAY, WEDNESDAY], adopted, [], [], "r"))
    assert read(lake) == {MONDAY: ["a", "b", "d"], TUESDAY: ["c"]}


def test_an_engine_that_wrote_nothing_stages_nothing(lake) -> None:
    staging = lake.new_staging_folder(TABLE)
    assert lake.adopt(TABLE, staging) == []
    lake.files.create(f"{staging}/_SUCCESS").close()
    assert lake.adopt(TABLE, staging) == []
    assert lake.files.files(staging, hidden=True) == []


def test_two_tables_of_one_lake_do_not_meet(lake) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    raw = pa.Table.from_pylist([{"UserID": "r", "ingestion_date": MONDAY}], ECOMMERCE_RAW.arrow)
    lake.publish(Staged(ECOMMERCE_RAW, [MONDAY], [write(lake, ECOMMERCE_RAW, MONDAY, raw)], [], [], "r"))
    assert read(lake) == {MONDAY: ["a"]}
    assert read(lake, ECOMMERCE_RAW, "UserID") == {MONDAY: ["r"]}


def test_nulls_are_counted_per_column_over_all_row_groups_and_files(lake) -> None:
    content = rows(MONDAY, "abcd").set_column(
        7, "amount", pa.array([None, Decimal("1.00"), None, None], pa.decimal128(12, 2))
    )
    files = [write(lake, TABLE, MONDAY, content, row_group_size=2), write(lake, TABLE, TUESDAY, rows(TUESDAY, "e"))]
    nulls = lake.null_counts(files)
    assert list(nulls) == TABLE.arrow.names
    assert (nulls["amount"], nulls["outcome"], nulls["user_id"], nulls["ingestion_date"]) == (3, 5, 0, 0)
    assert lake.null_counts([]) == {}


def test_the_preview_is_the_first_rows_of_the_first_file(lake) -> None:
    files = stage(lake, {MONDAY: "abcdefgh", TUESDAY: "z"}).files
    preview = lake.preview(files)
    assert [entry["user_id"] for entry in preview] == list("abcde")
    assert list(preview[0]) == TABLE.arrow.names
    assert [entry["user_id"] for entry in lake.preview(files, rows=2)] == ["a", "b"]
    assert lake.preview([]) == []


def test_values_are_counted_over_all_files(lake) -> None:
    files = stage(lake, {MONDAY: "aab", TUESDAY: "bc"}).files
    assert lake.count_values(files, "user_id") == Counter(a=2, b=2, c=1)
    assert lake.count_values([], "user_id") == Counter()
    staged = stage(lake, {MONDAY: "a"}, rejected=["bad_amount", "bad_amount", "missing_amount"]).quarantine
    assert lake.count_values(staged, "rule") == Counter(bad_amount=2, missing_amount=1)


def test_a_staged_writer_writes_full_row_groups_of_plain_types(lake, monkeypatch) -> None:
    monkeypatch.setattr(lake_module, "ROW_GROUP", 4)
    repeating = TABLE.arrow.set(1, pa.field("user_id", pa.dictionary(pa.int32(), pa.string())))
    writer = StagedWriter(lake, TABLE, MONDAY, repeating, row_group=4)
    for users in ("abc", "", "de", "f", "g"):
        writer.append(rows(MONDAY, users))
    (file,) = writer.close()
    assert (file.rows, file.day) == (7, MONDAY)
    footer = lake._footer(file.path)
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [4, 1, 2]
    lake.publish(Staged(TABLE, [MONDAY], [file], [], [], "r"))
    assert read(lake) == {MONDAY: list("abcdefg")}


def test_a_staged_writer_without_rows_makes_no_file(lake) -> None:
    writer = StagedWriter(lake, TABLE, MONDAY, TABLE.arrow)
    assert writer.close() == []
    writer.append(rows(MONDAY, ""))
    assert writer.close() == []
    assert lake.files.files("ecommerce_cleaned") == []
