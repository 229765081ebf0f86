"""Raw rows to cleaned ones where the engine is: in this process, or in a job somewhere else.

It knows neither the catalog nor the ledger: a ``Work`` says all that it needs, and a ``Cleaned`` all that became of it.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial, reduce
from typing import TYPE_CHECKING

import pyarrow as pa

from clickstream_assets.schemas import QUARANTINE, TEXT_BYTES, Table
from clickstream_assets.storage import spark
from clickstream_assets.storage.lake import SnapshotFile, Workplace
from clickstream_assets.storage.staged import StagedFile, count_by_day

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from clickstream_assets.storage.spark import Split
    from clickstream_assets.transforms.rules import Transform

#: rows from which on two parts are cleaned at the same time, and rows of a part of a large day
_FOR_TWO, _OF_A_PART = 200_000, 500_000

#: what ``Transform.same`` says of a raw row
_SAME = "_same"

#: events with copies whose rows are fetched; of more the engine keeps them
_FETCHED = 100_000


@dataclass(frozen=True)
class Work:
    """Days that are to be cleaned together.

    ``files``: of ``source``, those that have rows which are to be cleaned; ``rows_in``: how many such rows there are.
    ``hours``: of days of which the other hours stay as they are, those that are made again; ``elsewhere``: of these
    days, the ids that have their row in another hour, so that none can come from here. ``by_hour``: days whose hours
    have files of their own.
    """

    source: Table
    target: Table
    transform: Transform
    run_id: str
    days: Sequence[date]
    files: Sequence[SnapshotFile]
    rows_in: int
    hours: Mapping[date, Sequence[int]] = field(default_factory=dict)
    by_hour: Collection[date] = ()
    elsewhere: Mapping[date, pa.Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Cleaned:
    """What became of the rows: files of the target and of its quarantine, not yet published, and copies by day."""

    files: Sequence[StagedFile] = ()
    quarantine: Sequence[StagedFile] = ()
    duplicate: Mapping[date, int] = field(default_factory=dict)


def clean(session: SparkSession, lake: Workplace, work: Work, *, in_parts: bool = True) -> Cleaned:
    """Clean the rows and leave them in finished files.

    Rejected rows are looked for only when the accepted ones and the copies are fewer than the source's: all are
    counted, from Parquet footers or by the engine, so that a day without rejects costs one pass.

    ``in_parts``: many rows are cleaned some at a time, as one machine wants it.
    """
    rows = _rows(session, work, work.files)
    parts = [_rows(session, work, part) for part in _parts(work.files)] if in_parts else [rows]
    duplicate: Counter[date] = Counter()
    split = work.transform.over(rows)
    if work.transform.unique is None:
        accepted = [split(part).accepted for part in parts]
    else:
        accepted = _without_copies(rows, parts, work, split, duplicate)
    with ThreadPoolExecutor(2, thread_name_prefix="clean") as threads:
        write = partial(spark.write, lake, work.target, work.days, by_hour=work.by_hour)
        written = threads.map(write, [part.select(*work.target.arrow.names) for part in accepted])
        files = [file for of_part in written for file in of_part]
    quarantine: list[StagedFile] = []
    if count_by_day(files).total() + duplicate.total() != work.rows_in:
        quarantine = spark.write(lake, QUARANTINE, work.days, _rejected(work, split(rows).rejected))
    return Cleaned(files, quarantine, duplicate)


def _rejected(work: Work, rejected: DataFrame) -> DataFrame:
    """Rejected rows with all columns of the quarantine."""
    from pyspark.sql import functions as F

    payload = F.when(F.octet_length("payload") > TEXT_BYTES, F.substring("payload", 1, TEXT_BYTES // 4))
    rejected = rejected.withColumns(
        {
            "asset": F.lit(work.target.name),
            "run_id": F.lit(work.run_id),
            "payload": F.coalesce(payload, "payload"),  # a character has four bytes at most
        }
    )
    if work.target.hour is None:
        rejected = rejected.withColumn("partition_hour", F.lit(None).cast("bigint"))
    return rejected.select(*QUARANTINE.arrow.names)


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


def _rows(session: SparkSession, work: Work, files: Sequence[SnapshotFile]) -> DataFrame:
    """The rows of these files that are to be cleaned: of whole days, and of the hours of partial ones."""
    from pyspark.sql import functions as F

    rows = session.read.schema(work.source.spark).parquet(*(file.uri for file in files))
    if not work.hours:
        return rows
    day, hour = F.col(work.target.day), F.col(str(work.target.hour))
    conditions: list[Column] = [(day == one) & hour.isin(list(hours)) for one, hours in work.hours.items()]
    return rows.where(reduce(operator.or_, conditions, ~day.isin(list(work.hours))))


def _without_copies(
    rows: DataFrame,
    parts: Sequence[DataFrame],
    work: Work,
    clean: Callable[[DataFrame], Split],
    duplicate: Counter[date],
) -> list[DataFrame]:
    """The accepted rows of the parts, one per event and day: of copies the one whose payload has the greatest SHA-256.

    Events that have one row, nearly all, go through without being compared; the others are told apart first, by their
    ids alone: to sort 1,000,000 rows with all their columns would take longer than to clean them.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from clickstream_assets.transforms.rules import record_json

    session, target, transform = rows.sparkSession, work.target, work.transform
    key = of_cleaned = [target.day, str(transform.unique)]
    if transform.same is not None:
        rows, *parts = (some.withColumn(_SAME, transform.same()) for some in (rows, *parts))
        key = [target.day, _SAME]
    several = spark.fetched(rows.groupBy(*key).count().where("count > 1").select(*key))
    elsewhere = _of_days(key, work.elsewhere)
    ids = pa.concat_tables([several.cast(elsewhere.schema), elsewhere]).group_by(key).aggregate([])
    if not ids.num_rows:
        return [clean(part).accepted for part in parts]
    compared = F.broadcast(spark.frame(session, ids))
    single = [clean(part.join(compared, key, "left_anti")).accepted for part in parts]
    copied = rows.join(compared, key, "left_semi")
    fetched = ids.num_rows <= _FETCHED
    if fetched:  # so that all rows are looked through once
        copied = spark.frame(session, spark.fetched(copied), copied.schema)
    copies = clean(copied).accepted
    # As texts: engines agree on these, and not on times and decimals in JSON.
    payload = (F.col(name).cast("string").alias(name) for name in target.payload)
    greatest = F.sha2(record_json(*payload), 256).desc()
    ranked = copies.withColumn("_kept", F.row_number().over(Window.partitionBy(*of_cleaned).orderBy(greatest)) == 1)
    if elsewhere.num_rows:
        there = spark.frame(session, elsewhere.append_column("_there", pa.repeat(True, elsewhere.num_rows)))
        ranked = ranked.join(there, key, "left").withColumn("_kept", F.col("_kept") & F.col("_there").isNull())
    ranked = ranked.select(*target.arrow.names, "_kept")
    if fetched:  # and these cleaned once, not for the count too
        ranked = spark.frame(session, spark.fetched(ranked), ranked.schema)
    for day, count in ranked.where("not _kept").groupBy(target.day).count().collect():
        duplicate[day] += count
    best = ranked.where("_kept").drop("_kept")
    return [single[0].unionByName(best), *single[1:]]


def _of_days(key: Sequence[str], ids: Mapping[date, pa.Array]) -> pa.Table:
    schema = pa.schema([(key[0], pa.date32()), (key[1], pa.string())])
    tables = [
        pa.table([pa.repeat(pa.scalar(day, pa.date32()), len(of_day)), of_day], schema=schema)
        for day, of_day in ids.items()
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()
