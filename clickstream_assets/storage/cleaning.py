"""Raw → cleaned: run a transform over a snapshot and stage what it accepts and what it rejects, by day.

A day is made from all its raw rows, whenever they arrived. Where rows were only added since it was made last, its
untouched hours stay as they are: an arrival costs the hours that it touches. ``_Partial`` tells why that is exact.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets import totals
from clickstream_assets.schemas import CLICKSTREAM_CLEANED, QUARANTINE, TEXT_BYTES, Table
from clickstream_assets.storage import spark
from clickstream_assets.storage.lake import Lake, Snapshot, SnapshotFile, StagedWriter
from clickstream_assets.storage.slices import BY_HOUR
from clickstream_assets.storage.staged import Account, Staged, StagedFile, count_by_day

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from clickstream_assets.storage.spark import Split
    from clickstream_assets.transforms.rules import Transform


_TYPES = {field.name: field.type for table in (QUARANTINE, CLICKSTREAM_CLEANED) for field in table.arrow}


#: rows from which on two parts are cleaned at the same time, and rows of a part of a large day
_FOR_TWO, _OF_A_PART = 200_000, 500_000

#: rows of days that are cleaned together, where there are several days
_AT_ONCE = 2_000_000

#: what ``Transform.same`` says of a raw row
_SAME = "_same"

#: events with copies whose rows are fetched; of more the engine keeps them
_FETCHED = 100_000


@dataclass(frozen=True)
class _Partial:
    """A day of which only some hours are made again.

    ``hours``: those with new rows, and those with older rows of the same events: of an event with rows in several hours
    one is kept, and which one can only change where a new row of it came. So in the other hours nothing changes; and of
    an event that has its row there (``elsewhere``), none can come from here.

    ``rows_in``: raw rows of the hours. ``kept``: cleaned files of the other hours. ``rejects``: rejected rows of the
    other hours. ``duplicates``: copies among the raw rows of the other hours.
    """

    day: date
    hours: Sequence[int]
    rows_in: int
    elsewhere: pa.Array
    kept: Sequence[StagedFile]
    rejects: pa.Table
    duplicates: int


@dataclass(frozen=True)
class _Made:
    """What the lake and the ledger have of the target: how its days were made last."""

    lake: Lake
    table: Table
    accounts: Mapping[date, Account]
    rows: Snapshot
    rejects: Snapshot


@dataclass
class _Counts:
    """Rows per day, counted by the engine or from Parquet footers."""

    out: Counter[date] = field(default_factory=Counter)
    rejected: Counter[date] = field(default_factory=Counter)
    duplicate: Counter[date] = field(default_factory=Counter)


def stage(
    session: SparkSession,
    lake: Lake,
    *,
    source: Snapshot,
    target: Table,
    transform: Transform,
    days: Sequence[date],
    run_id: str,
    made: Mapping[date, Account],
) -> Staged:
    """Run a transform over the source's files, and stage the days of ``target``.

    ``made``: the ledger rows of the target. Rejected rows are looked for only when the accepted ones and the copies are
    fewer than the source's: all are counted, from Parquet footers or by the engine, so that a day without rejects costs
    one pass.
    """
    parts = [
        _stage(session, lake, replace(source, files=files), target, transform, together, run_id, made)
        for together, files in _together(source, days)
    ]
    rules: Counter[str] = Counter()
    for part in parts:
        rules.update(part.rejected_by_rule)
    files = [file for part in parts for file in part.files]
    findings = [totals.cleaned(lake, source, target, days, files)] if target.totals else []
    return replace(
        parts[0],
        days=days,
        files=files,
        quarantine=[file for part in parts for file in part.quarantine],
        accounts=[account for part in parts for account in part.accounts],
        kept=[file for part in parts for file in part.kept],
        rejected_by_rule=rules,
        findings=findings,
    )


def _together(source: Snapshot, days: Sequence[date]) -> list[tuple[list[date], tuple[SnapshotFile, ...]]]:
    """The days in groups that are cleaned one after the other, with the source's files of each.

    Rows are compared within a day, so that groups need not know of each other, and what is held of one does not grow
    with the days that are asked for: 365 days of 100,000 sales at once took 5.6 GB.
    """
    groups: list[list[date]] = [[]]
    rows = 0
    for day in days:
        if groups[-1] and rows + source.rows(day) > _AT_ONCE:
            groups.append([])
            rows = 0
        groups[-1].append(day)
        rows += source.rows(day)
    return [(group, tuple(file for day in group for file in source.of(day))) for group in groups]


def _stage(
    session: SparkSession,
    lake: Lake,
    source: Snapshot,
    target: Table,
    transform: Transform,
    days: Sequence[date],
    run_id: str,
    made: Mapping[date, Account],
) -> Staged:
    """The same of days that are cleaned at the same time."""
    from pyspark.sql import functions as F

    if not source.files:
        return Staged(target, days, (), (), [Account(day, 0, 0) for day in days], run_id, made_by=transform.identity)
    partial = _partial_days(lake, source, target, transform, days, made)
    wanted = _wanted(source, partial)
    rows = _rows(session, source, target, partial, wanted)
    parts = [_rows(session, source, target, partial, part) for part in _parts(wanted)]
    by_hour = [day for day in days if target.hour and (day in partial or source.rows(day) >= BY_HOUR)]
    counts = _Counts()
    clean = transform.over(rows)
    if transform.unique is None:
        accepted = [clean(part).accepted for part in parts]
    else:
        accepted = _without_copies(rows, parts, target, transform, clean, partial, counts)
    with ThreadPoolExecutor(2, thread_name_prefix="clean") as threads:
        write = functools.partial(spark.write, lake, target, days, by_hour=by_hour)
        written = threads.map(write, [part.select(*target.arrow.names) for part in accepted])
        files = [file for of_part in written for file in of_part]
    counts.out = count_by_day(files)
    rows_in = sum(partial[day].rows_in if day in partial else source.rows(day) for day in days)
    quarantine: list[StagedFile] = []
    if counts.out.total() + counts.duplicate.total() != rows_in:
        payload = F.when(F.octet_length("payload") > TEXT_BYTES, F.substring("payload", 1, TEXT_BYTES // 4))
        rejected = clean(rows).rejected.withColumns(
            {
                "asset": F.lit(target.name),
                "run_id": F.lit(run_id),
                "payload": F.coalesce(payload, "payload"),  # a character has four bytes at most
            }
        )
        if target.hour is None:
            rejected = rejected.withColumn("partition_hour", F.lit(None).cast("bigint"))
        quarantine = spark.write(lake, QUARANTINE, days, rejected.select(*QUARANTINE.arrow.names))
    kept: list[StagedFile] = []
    for part in partial.values():
        kept += part.kept
        counts.duplicate[part.day] += part.duplicates
        quarantine += _staged(lake, part)
    counts.out += count_by_day(kept)
    counts.rejected = count_by_day(quarantine)
    accounts = [
        Account(
            day,
            source.rows(day),
            counts.out[day],
            rejected=counts.rejected[day],
            duplicate=counts.duplicate[day],
            source_snapshot=source.version(day),
        )
        for day in days
    ]
    rules = lake.count_values(quarantine, "rule")
    made_by = transform.identity
    return Staged(target, days, files, quarantine, accounts, run_id, kept, rejected_by_rule=rules, made_by=made_by)


def _wanted(source: Snapshot, partial: Mapping[date, _Partial]) -> list[SnapshotFile]:
    """The source's files that have rows which are to be cleaned."""

    def wanted(file: SnapshotFile) -> bool:
        part, hours = partial.get(file.day), file.hours
        return part is None or hours is None or any(hours[0] <= hour <= hours[1] for hour in part.hours)

    return [file for file in source.files if wanted(file)]


def _parts(files: Sequence[SnapshotFile]) -> list[list[SnapshotFile]]:
    """The files in parts with about as many rows each, of which two are cleaned at a time.

    Sail computes with all cores and writes with one, which then waits for itself: 1,000,000 events took one core 10 s.
    More than two of a large day, since what is being written is held in memory.
    """
    ordered = sorted(files, key=lambda file: (file.day, file.hours or (0, 0)))
    total = sum(file.rows for file in files)
    count = max(1 if total < _FOR_TWO else 2, round(total / _OF_A_PART))
    parts: list[list[SnapshotFile]] = [[] for _ in range(count)]
    before = 0
    for file in ordered:
        parts[min(before * count // max(total, 1), count - 1)].append(file)
        before += file.rows
    return [part for part in parts if part]


def _rows(
    session: SparkSession,
    source: Snapshot,
    target: Table,
    partial: Mapping[date, _Partial],
    files: Sequence[SnapshotFile],
) -> DataFrame:
    """The rows of these files that are to be cleaned: of whole days, and of the hours of partial ones."""
    from pyspark.sql import functions as F

    rows = session.read.schema(source.table.spark).parquet(*(file.uri for file in files))
    if not partial:
        return rows
    day, hour = F.col(target.day), F.col(str(target.hour))
    conditions: list[Column] = [(day == part.day) & hour.isin(list(part.hours)) for part in partial.values()]
    return rows.where(reduce(lambda a, b: a | b, conditions, ~day.isin(list(partial))))


def _without_copies(
    rows: DataFrame,
    parts: Sequence[DataFrame],
    target: Table,
    transform: Transform,
    clean: Callable[[DataFrame], Split],
    partial: Mapping[date, _Partial],
    counts: _Counts,
) -> list[DataFrame]:
    """The accepted rows of the parts, one per event and day: of copies the one whose payload has the greatest SHA-256.

    Events that have one row, nearly all, go through without being compared; the others are told apart first, by their
    ids alone: to sort 1,000,000 rows with all their columns would take longer than to clean them.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    session = rows.sparkSession
    key = of_cleaned = [target.day, str(transform.unique)]
    if transform.same is not None:
        rows, *parts = (some.withColumn(_SAME, transform.same()) for some in (rows, *parts))
        key = [target.day, _SAME]
    several = rows.groupBy(*key).count().where("count > 1").select(*key).toArrow()
    elsewhere = _of_days(key, [(part.day, part.elsewhere) for part in partial.values()])
    ids = pa.concat_tables([several.cast(elsewhere.schema), elsewhere]).group_by(key).aggregate([])
    if not ids.num_rows:
        return [clean(part).accepted for part in parts]
    compared = F.broadcast(session.createDataFrame(ids))
    single = [clean(part.join(compared, key, "left_anti")).accepted for part in parts]
    copied = rows.join(compared, key, "left_semi")
    fetched = ids.num_rows <= _FETCHED
    if fetched:  # so that all rows are looked through once
        copied = session.createDataFrame(copied.toArrow(), copied.schema)
    copies = clean(copied).accepted
    greatest = F.sha2(F.to_json(F.struct(*target.payload)), 256).desc()
    ranked = copies.withColumn("_kept", F.row_number().over(Window.partitionBy(*of_cleaned).orderBy(greatest)) == 1)
    if elsewhere.num_rows:
        there = session.createDataFrame(elsewhere.append_column("_there", pa.repeat(True, elsewhere.num_rows)))
        ranked = ranked.join(there, key, "left").withColumn("_kept", F.col("_kept") & F.col("_there").isNull())
    ranked = ranked.select(*target.arrow.names, "_kept")
    if fetched:  # and these cleaned once, not for the count too
        ranked = session.createDataFrame(ranked.toArrow(), ranked.schema)
    for day, count in ranked.where("not _kept").groupBy(target.day).count().collect():
        counts.duplicate[day] += count
    best = ranked.where("_kept").drop("_kept")
    return [single[0].unionByName(best), *single[1:]]


def _of_days(key: Sequence[str], ids: Sequence[tuple[date, pa.Array]]) -> pa.Table:
    schema = pa.schema([(key[0], pa.date32()), (key[1], pa.string())])
    tables = [
        pa.table([pa.repeat(pa.scalar(day, pa.date32()), len(of_day)), of_day], schema=schema) for day, of_day in ids
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _partial_days(
    lake: Lake,
    source: Snapshot,
    target: Table,
    transform: Transform,
    days: Sequence[date],
    accounts: Mapping[date, Account],
) -> dict[date, _Partial]:
    """The days of which some hours can stay as they are."""
    if target.hour is None or transform.unique is None:
        return {}
    candidates = {}
    for day in days:
        account = accounts.get(day)
        added = source.since(day, account.source_snapshot, account.rows_in) if account else None
        if account and added and account.rows_in:
            candidates[day] = added
    if not candidates:
        return {}
    rejects = lake.snapshot(QUARANTINE, candidates)
    made = _Made(lake, target, accounts, lake.snapshot(target, candidates), rejects)
    made_by = lake.made_by(target, {file.added for file in made.rows.files})
    found = (
        _partial(made, source, str(transform.unique), day, added)
        for day, added in candidates.items()
        if {made_by.get(file.added) for file in made.rows.of(day)} == {transform.identity}
    )
    return {part.day: part for part in found if part is not None}


def _partial(made: _Made, source: Snapshot, unique: str, day: date, added: Sequence[SnapshotFile]) -> _Partial | None:
    """Which hours of a day to make again; None when it must be all of them."""
    account, hour = made.accounts[day], str(source.table.hour)
    rejects = [file for file in made.rejects.of(day) if file.partition[0] == made.table.name]
    whole = any(file.hours is None or file.hours[0] != file.hours[1] for file in made.rows.of(day))
    rejected = sum(file.rows for file in rejects)
    if whole or (made.rows.rows(day), rejected) != (account.rows_out, account.rejected):
        return None
    old = [file for file in source.of(day) if file not in added]
    new_rows, old_rows = _read(made.lake, added, [unique, hour]), _read(made.lake, old, [unique, hour])
    same = old_rows.filter(pc.is_in(old_rows[unique], value_set=pc.unique(new_rows[unique]).drop_null()))
    hours = sorted(set(pc.unique(new_rows[hour]).to_pylist()) | set(pc.unique(same[hour]).to_pylist()))
    here = pc.is_in(old_rows[hour], value_set=pa.array(hours, pa.int64()))
    old_here, old_elsewhere = old_rows.filter(here), old_rows.filter(pc.invert(here))
    common = pc.is_in(old_elsewhere[unique], value_set=pc.unique(old_here[unique]).drop_null())
    elsewhere = pc.unique(old_elsewhere[unique].filter(common)).drop_null()
    kept = [file for file in made.rows.of(day) if file.hours and file.hours[0] not in hours]
    if not kept:
        return None
    if len(elsewhere):
        ids = _read(made.lake, kept, [unique])[unique]
        elsewhere = pc.unique(ids.filter(pc.is_in(ids, value_set=elsewhere)))
    found = _read(made.lake, rejects, QUARANTINE.arrow.names)
    stays = pc.invert(pc.is_in(found["partition_hour"], value_set=pa.array(hours, pa.int64())))
    others = found.filter(stays)
    rows_out = sum(file.rows for file in kept)
    return _Partial(
        day,
        hours,
        new_rows.num_rows + old_here.num_rows,
        _flat(elsewhere),
        [StagedFile(made.lake.files.relative(file.uri), file.rows, day) for file in kept],
        others,
        # The ledger's less those of the hours: their old raw rows that were neither kept nor rejected.
        account.duplicate - (old_here.num_rows - (account.rows_out - rows_out) - (account.rejected - others.num_rows)),
    )


def _read(lake: Lake, files: Sequence[SnapshotFile], columns: Sequence[str]) -> pa.Table:
    """Some columns of published files, which may be none."""

    def read(file: SnapshotFile) -> pa.Table:
        with lake.files.open_random(lake.files.relative(file.uri)) as opened:
            return pq.read_table(opened, columns=list(columns), partitioning=None)

    if not files:
        return pa.schema([(name, _TYPES[name]) for name in columns]).empty_table()
    with ThreadPoolExecutor(2, thread_name_prefix="read") as threads:
        return pa.concat_tables(threads.map(read, files), promote_options="default").select(list(columns))


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _staged(lake: Lake, part: _Partial) -> list[StagedFile]:
    """The rejected rows that stay, in a file of their own."""
    writer = StagedWriter(lake, QUARANTINE, part.day, QUARANTINE.arrow)
    if part.rejects.num_rows:
        writer.append(part.rejects)
    return writer.close()
