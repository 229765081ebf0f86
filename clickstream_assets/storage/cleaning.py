"""Raw → cleaned: have a transform run over a snapshot, and stage what it accepts and what it rejects, by day.

What is to be done is planned here, where the catalog and the ledger are; ``shaping`` does it, where the engine is.

A day is made from all its raw rows, whenever they arrived. Where rows were only added since it was made last, its
untouched hours stay as they are: an arrival costs the hours that it touches. ``_Partial`` tells why that is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets import totals
from clickstream_assets.schemas import CLICKSTREAM_CLEANED, QUARANTINE, Table
from clickstream_assets.storage import shaping
from clickstream_assets.storage.lake import Lake, Snapshot, SnapshotFile, StagedWriter
from clickstream_assets.storage.shaping import Cleaned, Work
from clickstream_assets.storage.slices import BY_HOUR
from clickstream_assets.storage.staged import Account, Staged, StagedFile, count_by_day

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from clickstream_assets.transforms.rules import Transform


_TYPES = {field.name: field.type for table in (QUARANTINE, CLICKSTREAM_CLEANED) for field in table.arrow}


#: rows of days that are cleaned together, where there are several days
_AT_ONCE = 2_000_000


class Elsewhere(ABC):
    """What has days cleaned by an engine that this process has no session of."""

    @abstractmethod
    def clean(self, work: Sequence[Work]) -> Iterable[Cleaned]:
        """As ``shaping.clean`` does each piece of work."""


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


def stage(
    engine: SparkSession | Elsewhere,
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

    ``engine``: a session, or what has the work done elsewhere. ``made``: the ledger rows of the target.
    """
    groups = [
        _planned(lake, replace(source, files=files), target, transform, together, run_id, made)
        for together, files in _together(source, days)
    ]
    work = [group.work for group in groups]
    clean = engine.clean if isinstance(engine, Elsewhere) else partial(_here, engine, lake)
    done = iter(clean([piece for piece in work if piece.files]))
    parts = [_staged(lake, group, next(done) if group.work.files else Cleaned()) for group in groups]
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


@dataclass(frozen=True)
class _Group:
    """Days that are cleaned together: their raw files, what is to be done of them, and what stays of partial days."""

    source: Snapshot
    work: Work
    partial: Mapping[date, _Partial]


def _here(session: SparkSession, lake: Lake, work: Iterable[Work]) -> Iterator[Cleaned]:
    """Work done by a session of this process, a piece when it is asked for."""
    return (shaping.clean(session, lake, piece) for piece in work)


def _planned(
    lake: Lake,
    source: Snapshot,
    target: Table,
    transform: Transform,
    days: Sequence[date],
    run_id: str,
    made: Mapping[date, Account],
) -> _Group:
    """What is to be done to clean the days at the same time."""
    partial = _partial_days(lake, source, target, transform, days, made) if source.files else {}
    work = Work(
        source=source.table,
        target=target,
        transform=transform,
        run_id=run_id,
        days=days,
        files=_wanted(source, partial),
        rows_in=sum(partial[day].rows_in if day in partial else source.rows(day) for day in days),
        hours={day: list(part.hours) for day, part in partial.items()},
        by_hour=[day for day in days if target.hour and (day in partial or source.rows(day) >= BY_HOUR)],
        elsewhere={day: part.elsewhere for day, part in partial.items()},
    )
    return _Group(source, work, partial)


def _staged(lake: Lake, group: _Group, made: Cleaned) -> Staged:
    """The files that were made, with what stays of partial days, and the account of each day."""
    source, work = group.source, group.work
    quarantine, kept = list(made.quarantine), list[StagedFile]()
    duplicate = Counter(made.duplicate)
    for part in group.partial.values():
        kept += part.kept
        duplicate[part.day] += part.duplicates
        quarantine += _rejects(lake, part)
    out, rejected = count_by_day([*made.files, *kept]), count_by_day(quarantine)
    accounts = [
        Account(
            day,
            source.rows(day),
            out[day],
            rejected=rejected[day],
            duplicate=duplicate[day],
            source_snapshot=source.version(day),
        )
        for day in work.days
    ]
    return Staged(
        work.target,
        work.days,
        made.files,
        quarantine,
        accounts,
        work.run_id,
        kept,
        rejected_by_rule=lake.count_values(quarantine, "rule"),
        made_by=work.transform.identity,
    )


def _wanted(source: Snapshot, partial: Mapping[date, _Partial]) -> list[SnapshotFile]:
    """The source's files that have rows which are to be cleaned."""

    def wanted(file: SnapshotFile) -> bool:
        part, hours = partial.get(file.day), file.hours
        return part is None or hours is None or any(hours[0] <= hour <= hours[1] for hour in part.hours)

    return [file for file in source.files if wanted(file)]


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


def _rejects(lake: Lake, part: _Partial) -> list[StagedFile]:
    """The rejected rows that stay, in a file of their own."""
    writer = StagedWriter(lake, QUARANTINE, part.day, QUARANTINE.arrow)
    if part.rejects.num_rows:
        writer.append(part.rejects)
    return writer.close()
