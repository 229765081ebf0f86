"""Raw changes → the current state and the history of a table, in whatever order and however often they came.

Both tables are functions of the set of the raw rows. Most changes are newer than what is there: then only the newest
versions of their keys are read. A change that comes late makes its key anew; what changes more than keys, such as a
column's type or a file that was replaced, makes both tables anew from all raw rows.

The history is committed first, and tells how far it has come. A process that dies before the state's commit leaves a
state that tells that it is older, and the next run makes it from the history.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clickstream_assets import schemas
from clickstream_assets.cdc import columns as typed
from clickstream_assets.cdc import merge as merging
from clickstream_assets.cdc.columns import FileTypes, Numbers, Refusal
from clickstream_assets.cdc.declared import DYNAMODB, Declared
from clickstream_assets.cdc.merge import Load, Merge, Merged
from clickstream_assets.cdc.tables import (
    APPLIED,
    BUCKETS,
    GENERATION,
    REBUILD,
    CdcTable,
    Marks,
    Written,
    history_columns,
    state_columns,
    state_partition,
)
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.parsing.rows import WITHHELD
from clickstream_assets.schemas import CDC_CHANGES, QUARANTINE, TEXT_BYTES
from clickstream_assets.storage.commits import COMPACTION, REWRITE, until_committed
from clickstream_assets.storage.lake import StagedWriter
from clickstream_assets.storage.s3 import is_s3
from clickstream_assets.storage.staged import Account, Staged, StagedFile

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile

    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.lake import Lake, SnapshotFile

#: raw rows, or newest versions, of a group of buckets: what is in memory at once
_OF_A_GROUP = 1_000_000

#: two files of a full load without so long a silence between them belong to one load
_LOAD_PAUSE = timedelta(hours=1)

#: how often the work is done over because another process changed a table meanwhile
_ATTEMPTS = 5

#: written to the quarantine: what the change says
_PAYLOAD = f"""
left(cast(json_object('after', cast({{after}} as json), 'before', cast({{before}} as json)) as varchar),
     {TEXT_BYTES // 4})
"""


@dataclass(frozen=True)
class Fact:
    """What one raw file has of one landing file: its columns, and when its changes happened.

    ``file_name``: of DynamoDB empty, since nothing depends on it. ``load``: the number of a full load.
    ``timeless``: it has changes without a time. ``full``: it has rows, not only deletes.
    """

    uri: str
    file_name: str
    types: str
    kind: str
    load: str
    day: date
    rows: int
    first: datetime | None
    last: datetime | None
    timeless: bool
    full: bool

    @classmethod
    def of(cls, row: Sequence[Any]) -> Fact:
        """From JSON, in which days and times are text."""
        uri, file_name, types, kind, load, day, rows, first, last, timeless, full = row
        first, last = (None if one is None else datetime.fromisoformat(one) for one in (first, last))
        return cls(uri, file_name, types, kind, load, date.fromisoformat(day), rows, first, last, timeless, full)


@dataclass(frozen=True)
class Reconciled:
    """A full load beside the current state: by how many ranges of keys they differ, before the load and after.

    Before it is what the changes before it say. ``missing``: keys of the load that were not there. ``unexpected``: keys
    that were there and that the load has not. Keys that changed since the load began are in none of these. ``first``:
    there was nothing to compare it with, as of the first load, and of one that does not tell its place.
    """

    load: str
    ranges: int
    differing_before: int
    differing_after: int
    missing: int
    unexpected: int
    first: bool = False


@dataclass(frozen=True)
class Applied:
    """What was done: the snapshots of the two tables, None where there is none.

    ``changes``: raw rows that were applied now. ``accounts``: of every day, as they are now. ``refused``: changes that
    are not taken, for the quarantine; its days are those whose entries there are to be replaced.
    """

    target: str
    history: int | None
    state: int | None
    changes: int
    rebuilt: bool
    accounts: tuple[Account, ...]
    refused: Staged
    refusals: tuple[Refusal, ...] = ()
    reconciled: tuple[Reconciled, ...] = ()
    warnings: tuple[str, ...] = ()


def apply(
    platform: Platform,
    declared: Declared,
    *,
    run_id: str,
    replay: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Applied:
    """Apply the raw changes of a table that were not applied yet; with ``replay`` make both tables from all of them.

    The caller has the domain for itself.

    Raises:
        ClickstreamError: the declaration and the changes do not go together.
        PublishError: other processes kept changing the tables all the time.
    """
    return until_committed(
        lambda: _Apply(platform, declared, run_id, progress).run(replay=replay),
        *(declared.name, "apply changes"),
        attempts=_ATTEMPTS,
    )


def request_rebuild(lake: Lake, declared: Declared) -> None:
    """Ask the next run to make both tables from all raw rows: before raw rows are taken away."""
    history = lake.iceberg(f"{declared.name}_history")
    if history is not None:
        with history.transaction() as transaction:
            transaction.set_properties({REBUILD: "true"})


@dataclass
class _Plan:
    """What is to be done: ``raw``: the raw files to apply; ``all_raw``: every one."""

    raw: list[SnapshotFile]
    all_raw: list[SnapshotFile]
    columns: dict[str, str]
    refused: dict[tuple[str, str], Refusal]
    loads: list[Load]
    reals: set[str]
    marks: Marks
    rebuild: bool
    loads_changed: bool
    new: frozenset[str]
    facts: list[Fact] = field(default_factory=list)


class _Apply:
    """One run of ``apply``."""

    def __init__(self, platform: Platform, declared: Declared, run_id: str, progress: Callable[[str], None]):
        self._platform = platform
        self._lake = platform.lake
        self._declared = declared
        self._run_id = run_id
        self._progress = progress
        #: Of DMS nothing tells when a load is complete: what it has not may be in a file that is still to come, or in
        #: one that cannot be read.
        self._deletes = declared.source == DYNAMODB or declared.complete_loads

    def run(self, *, replay: bool) -> Applied:
        temporary = self._platform.settings.home / "cdc"
        temporary.mkdir(parents=True, exist_ok=True)
        prefix = f"merge-{self._declared.target}-"
        for left in temporary.glob(f"{prefix}*"):  # by a process that was killed: nobody else is at work here
            shutil.rmtree(left, ignore_errors=True)
        settings = self._platform.settings
        with (
            tempfile.TemporaryDirectory(dir=temporary, prefix=prefix) as folder,
            merging.connected(settings.duckdb_memory, Path(folder), on_s3=settings.lake_on_s3) as connection,
        ):
            return self._run(connection, replay=replay)

    def _run(self, connection: duckdb.DuckDBPyConnection, *, replay: bool) -> Applied:
        history = CdcTable.find(self._lake, f"{self._declared.name}_history")
        state = CdcTable.find(self._lake, self._declared.name)
        of_state = 0 if state is None else int(state.properties.get(GENERATION, 0))
        plan = self._plan(connection, history, replay=replay)
        behind = of_state != plan.marks.generation
        # A history that is made again after it was dropped must not look like the one that the state is from.
        plan.marks = replace(plan.marks, generation=max(plan.marks.generation, of_state))
        if not plan.all_raw and history is None:
            return self._applied(None, None, plan, Marks(), Merge(connection, self._declared, {}, [], {}), 0)
        partition = state_partition(self._declared, plan.columns)
        merge = Merge(
            connection,
            self._declared,
            plan.columns,
            plan.loads if self._deletes else [],
            {file: refusal.rule for file, refusal in plan.refused.items()},
            plan.reals,
        )
        if history is None:
            history = CdcTable.create(
                self._lake,
                f"{self._declared.name}_history",
                history_columns(plan.columns),
                ("_open", "_bucket"),
                f"Every change of {self._declared.table}, one row each.",
            )
        if state is None:
            state = CdcTable.create(
                self._lake,
                self._declared.name,
                state_columns(plan.columns),
                (partition,),
                f"The rows of {self._declared.table} as they are now.",
            )
        marks, unknown = plan.marks, 0
        buckets: set[int] = set()
        was_empty = not state.files()
        if plan.raw or plan.rebuild or plan.loads_changed:
            marks, buckets, unknown = self._history(merge, history, plan)
            self._progress(f"{history.name}: {sum(file.rows for file in plan.raw):,} changes applied")
        if behind or marks.generation != of_state:
            self._state(merge, state, history, plan, marks, buckets, whole=plan.rebuild or behind)
            self._progress(f"{state.name}: current state made")
        return replace(
            self._applied(history, state, plan, marks, merge, unknown),
            reconciled=self._reconciled(merge, plan, history, state, was_empty=was_empty),
        )

    # --- what is to be done ------------------------------------------------------------------------------------------

    def _plan(self, connection: duckdb.DuckDBPyConnection, history: CdcTable | None, *, replay: bool) -> _Plan:
        marks = Marks.of({} if history is None else history.properties)
        every = [f for f in self._lake.snapshot(CDC_CHANGES).files if f.partition[0] == self._declared.target]
        compacted = self._compacted({file.added for file in every if file.sequence > marks.applied})
        new = [file for file in every if file.sequence > marks.applied and file.added not in compacted]
        old = {file.uri for file in every} - {file.uri for file in new}
        facts = self._facts(connection, [file.uri for file in every])
        refused = typed.judge(_file_types(facts), self._declared)
        accepted = [fact for fact in facts if (fact.file_name, fact.types) not in refused]
        digest = _digest(sorted({(f.file_name, f.types) for f in facts if f.uri in old} & refused.keys()))
        declared = _digest(_plain(self._declared))
        loads = _loads(facts, refused, self._declared)
        rebuild = (
            replay
            or history is None
            or history.properties.get(REBUILD) == "true"
            or marks.declared != declared
            or marks.refused != digest
            or marks.raw_rows != sum(file.rows for file in every if file.uri in old)
        )
        numbers = dict({} if rebuild else marks.numbers)
        found = self._numbers(connection, accepted, every if rebuild else new)
        numbers = {name: numbers.get(name, Numbers()) | found.get(name, Numbers()) for name in {*numbers, *found}}
        columns = typed.columns({fact.types for fact in accepted}, numbers, self._declared)
        if not rebuild and history is not None and not history.holds(history_columns(columns)):
            rebuild = True
        marks = replace(
            Marks(generation=marks.generation, loads=marks.loads) if rebuild else marks,
            applied=max((file.sequence for file in every), default=0),
            raw_rows=sum(file.rows for file in every),
            declared=declared,
            refused=_digest(sorted(refused)),
            numbers=numbers,
        )
        places = tuple((str(load.committed_at) if load.committed_at else None, load.sequence) for load in loads)
        changed = places != tuple(marks.loads)
        reals = self._reals(accepted, columns)
        marks = replace(marks, loads=places)
        fresh = frozenset(file.uri for file in new)
        raw = every if rebuild else new
        return _Plan(raw, every, columns, refused, loads, reals, marks, rebuild, changed, fresh, facts)

    def _facts(self, connection: duckdb.DuckDBPyConnection, uris: Sequence[str]) -> list[Fact]:
        """What raw files are about; files never change, so that each is looked at once."""
        by_file = self._declared.source != DYNAMODB
        place = self._platform.settings.home / "cdc" / f"{self._declared.target}-{self._declared.source}.facts.json"
        known: dict[str, list[list[Any]]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = json.loads(place.read_text())
        known = {uri: known[uri] for uri in uris if uri in known}
        if new := [uri for uri in uris if uri not in known]:
            known |= {uri: [] for uri in new}
            for row in merging.facts(connection, new, by_file=by_file):
                known[row[0]].append([one.isoformat() if isinstance(one, date) else one for one in row])
            half = place.with_suffix(f".{os.getpid()}")
            half.write_text(json.dumps(known))
            half.replace(place)
        return [Fact.of(row) for uri in uris for row in known[uri]]

    def _compacted(self, snapshots: Collection[int]) -> set[int]:
        """Which snapshots of raw brought no new rows."""
        iceberg = self._lake.iceberg(CDC_CHANGES.lake) if snapshots else None
        known = [] if iceberg is None else [one for one in iceberg.metadata.snapshots if one.snapshot_id in snapshots]
        return {one.snapshot_id for one in known if one.summary and one.summary[REWRITE] == COMPACTION}

    def _numbers(
        self, connection: duckdb.DuckDBPyConnection, facts: Iterable[Fact], raw: Sequence[SnapshotFile]
    ) -> dict[str, Numbers]:
        if self._declared.source != DYNAMODB:
            return {}
        kinds: dict[str, set[str]] = defaultdict(set)
        for types in {fact.types for fact in facts}:
            for name, kind in typed.parsed(types, self._declared).items():
                kinds[name].add(kind)
        names = sorted(n for n, of in kinds.items() if of == {typed.NUMBER} and n not in self._declared.types)
        return merging.numbers(connection, [file.uri for file in raw], names, self._declared.renames)

    def _reals(self, facts: Iterable[Fact], columns: Mapping[str, str]) -> set[str]:
        """Columns of double that some files have as real."""
        found = set()
        for types in {fact.types for fact in facts}:
            for name, kind in typed.parsed(types, self._declared).items():
                if kind == "real" and columns.get(name) == "double" and name not in self._declared.types:
                    found.add(name)
        return found

    # --- the history -------------------------------------------------------------------------------------------------

    def _history(self, merge: Merge, history: CdcTable, plan: _Plan) -> tuple[Marks, set[int], int]:
        there = history.files()
        ids = history.evolve(history_columns(plan.columns), ("_open", "_bucket"))
        current = {} if plan.rebuild else _by_partition(there)
        look_again = plan.loads_changed and not plan.rebuild
        written: list[Written] = []
        removed = {file.file_path for file in there} if plan.rebuild else set()
        total, touched = Merged(), set()
        every = [file.uri for file in plan.all_raw]
        for group in _groups(plan, there if look_again else []):
            opened = _uris(current, [(True, bucket) for bucket in group])
            closed = _uris(current, [(False, bucket) for bucket in group])
            merge.read([file.uri for file in plan.raw], group)
            if look_again:
                merge.add_keys_of_loads(opened)
            merged = merge.merge(opened, closed, every)
            sizes = merge.sizes()
            for bucket in merge.buckets():
                touched.add(bucket)
                for newest in (True, False):
                    place = (newest, bucket)
                    mine = [uri for uri in _uris(current, [place]) if uri in merged.replaced]
                    if not mine and not sizes.get(place):
                        continue
                    path = self._path(history)
                    rows = merge.write_history(self._lake.files.uri(path), bucket, opened=newest, kept_of=mine, ids=ids)
                    written += self._kept(path, rows, place)
            removed |= merged.replaced
            total.kept.update(merged.kept)
            total.rejected.update(merged.rejected)
            total.duplicate.update(merged.duplicate)
            total.derived += merged.derived
            total.unknown += merged.unknown
            merge.finish()
        marks = _accounted(plan, total)
        _check(self._declared, there, removed, written, marks)
        gone = [file for file in there if file.file_path in removed]
        history.commit(gone, written, marks.properties, run_id=self._run_id, unset=[REBUILD])
        return marks, touched, total.unknown

    def _path(self, table: CdcTable) -> str:
        path = table.new_path()
        uri = self._lake.files.uri(path)
        if not is_s3(uri):
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        return path

    def _kept(self, path: str, rows: int, place: tuple[Any, ...]) -> list[Written]:
        if rows:
            return [Written(path, rows, place)]
        self._lake.files.delete(path)
        return []

    # --- the current state -------------------------------------------------------------------------------------------

    def _state(
        self,
        merge: Merge,
        state: CdcTable,
        history: CdcTable,
        plan: _Plan,
        marks: Marks,
        buckets: Collection[int],
        *,
        whole: bool,
    ) -> None:
        """Make the state of some buckets from the newest versions of the history, or all of it."""
        there = state.files()
        wanted = state_columns(plan.columns)
        by = state_partition(self._declared, plan.columns)
        whole = whole or state.partition != (by,)
        ids = state.evolve(wanted, (by,))
        newest = _by_partition(history.files())
        buckets = range(BUCKETS) if whole else buckets
        written: list[Written] = []
        if by == "_bucket":
            gone = [file for file in there if whole or file.partition[0] in buckets]
            for bucket in sorted(buckets):
                if opened := _uris(newest, [(True, bucket)]):
                    path = self._path(state)
                    rows = merge.write_state(self._lake.files.uri(path), opened, ids)
                    written += self._kept(path, rows, (bucket,))
        else:
            holding = set() if whole else merge.holding_keys([file.file_path for file in there], wanted)
            gone = [file for file in there if whole or file.file_path in holding]
            opened = _uris(newest, [(True, bucket) for bucket in sorted(buckets)])
            for value in merge.prepare_state(opened, sorted(holding), by, whole=whole):
                path = self._path(state)
                rows = merge.write_partition(self._lake.files.uri(path), by, value, ids)
                written += self._kept(path, rows, (value,))
        properties = {APPLIED: str(marks.applied), GENERATION: str(marks.generation)}
        state.commit(gone, written, properties, run_id=self._run_id)

    def _reconciled(
        self, merge: Merge, plan: _Plan, history: CdcTable, state: CdcTable, *, was_empty: bool
    ) -> tuple[Reconciled, ...]:
        """The full loads with new rows beside what was known before them, and the state as it is."""
        new = [f for f in plan.facts if f.uri in plan.new and f.kind == "load"]
        new = [fact for fact in new if (fact.file_name, fact.types) not in plan.refused]
        loads = [load for load in plan.loads if any(_belongs(fact, load) for fact in new)]
        if any(fact.first is None and not fact.load.strip("0") for fact in new):
            loads.append(Load(None, "0" * 48 if self._declared.source == DYNAMODB else ""))
        versions = [file.file_path for file in history.files()] if loads else []
        now = [file.file_path for file in state.files()] if loads else []
        found = []
        for load in loads:
            told = load.committed_at.isoformat() if load.committed_at else load.sequence.lstrip("0")
            known, ranges, before, after, missing, unexpected = merge.reconciled(load, versions, now)
            first = not known or (was_empty and load in plan.loads[:1])
            found.append(Reconciled(told, ranges, before, after, missing, unexpected, first))
        return tuple(found)

    # --- what is told ------------------------------------------------------------------------------------------------

    def _applied(
        self,
        history: CdcTable | None,
        state: CdcTable | None,
        plan: _Plan,
        marks: Marks,
        merge: Merge,
        unknown: int,
    ) -> Applied:
        accounts = tuple(
            Account(date.fromisoformat(day), rows_in, rows_out, rejected=rejected, duplicate=duplicate)
            for day, (rows_in, rows_out, duplicate, rejected) in sorted(marks.accounts.items())
        )
        warnings = []
        by = self._declared.partition_by
        if by is not None and plan.columns and by not in plan.columns:
            warnings.append(
                f"{self._declared.name} is to be partitioned by {by}, and no change has this column: correct "
                "`partition_by` in the declaration, unless it is still to come."
            )
        if unknown:
            warnings.append(
                f"{self._declared.name}: {unknown:,} updates of keys that were never inserted: a key may have changed, "
                "or the full load is missing."
            )
        return Applied(
            target=self._declared.target,
            history=None if history is None else history.snapshot_id,
            state=None if state is None else state.snapshot_id,
            changes=sum(file.rows for file in plan.raw),
            rebuilt=plan.rebuild,
            accounts=accounts,
            refused=self._refused(plan, accounts, merge),
            refusals=tuple(plan.refused.values()),
            warnings=tuple(warnings),
        )

    def _refused(self, plan: _Plan, accounts: Sequence[Account], merge: Merge) -> Staged:
        """The quarantine of the days on which it is not as the accounts tell, and of those with new changes."""
        found: Counter[date] = Counter()
        for file in self._lake.snapshot(QUARANTINE).files:
            if file.partition[0] == self._declared.name:
                found[file.day] += file.rows
        fresh = {file.day for file in plan.raw}
        days = [a.day for a in accounts if found[a.day] != a.rejected or (a.rejected and a.day in fresh)]
        rejected = {account.day: account.rejected for account in accounts}
        files: list[StagedFile] = []
        rules: Counter[str] = Counter()
        for day in days:
            if not rejected[day]:
                continue
            raw = [file.uri for file in plan.all_raw if file.day == day]
            payload = f"'{WITHHELD}'" if self._declared.personal else _PAYLOAD
            rows = merge.rejects(raw, payload=payload)
            rules.update(rows["rule"].to_pylist())
            writer = StagedWriter(self._lake, QUARANTINE, day, QUARANTINE.arrow)
            writer.append(_quarantine(rows, self._declared, self._run_id, day))
            files += writer.close()
        return Staged(_registered(self._declared), days, (), files, accounts, self._run_id, rejected_by_rule=rules)


def _file_types(facts: Iterable[Fact]) -> list[FileTypes]:
    """The columns of each file, with the time of its first change."""
    found: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        found[fact.file_name, fact.types].append(fact)
    return [
        FileTypes(
            name,
            types,
            None if any(one.timeless for one in of) else min(one.first for one in of if one.first),
            any(one.full for one in of),
        )
        for (name, types), of in found.items()
    ]


def _loads(facts: Iterable[Fact], refused: Collection[tuple[str, str]], declared: Declared) -> list[Load]:
    """The full loads in their order; those that do not tell their place are not among them.

    Nor are those of which a file is refused: that a row is not in the other files does not say that it is gone.
    """
    loads = [fact for fact in facts if fact.kind == "load"]
    lacking = [fact for fact in loads if (fact.file_name, fact.types) in refused]
    return [load for load in _told(loads, declared) if not any(_belongs(fact, load) for fact in lacking)]


def _told(loads: Sequence[Fact], declared: Declared) -> list[Load]:
    if declared.source == DYNAMODB:
        numbers = sorted({fact.load for fact in loads if fact.load.strip("0")})
        return [
            Load(min((f.first for f in loads if f.load == number and f.first), default=None), number)
            for number in numbers
        ]
    found: list[Load] = []
    end: datetime | None = None
    for first, last in sorted((fact.first, fact.last) for fact in loads if fact.first and fact.last):
        if end is None or first - end > _LOAD_PAUSE:
            found.append(Load(first, "", last))
        end = last if end is None else max(end, last)
        found[-1] = replace(found[-1], last=end)
    return found


def _belongs(fact: Fact, load: Load) -> bool:
    """Whether a full load has rows of a file."""
    if fact.load.strip("0"):
        return fact.load == load.sequence
    return bool(fact.first and load.committed_at and load.last and load.committed_at <= fact.first <= load.last)


def _groups(plan: _Plan, newest: Sequence[DataFile]) -> list[list[int]]:
    """Buckets that are merged at once."""
    rows = max(sum(file.rows for file in plan.raw), sum(file.record_count for file in newest))
    count = min(BUCKETS, max(1, -(-rows // _OF_A_GROUP)))
    return [list(range(n, BUCKETS, count)) for n in range(count)]


def _by_partition(files: Iterable[DataFile]) -> dict[tuple[bool, int], list[str]]:
    found: dict[tuple[bool, int], list[str]] = defaultdict(list)
    for file in files:
        found[bool(file.partition[0]), int(file.partition[1])].append(file.file_path)
    return found


def _uris(files: Mapping[tuple[bool, int], list[str]], places: Iterable[tuple[bool, int]]) -> list[str]:
    return [uri for place in places for uri in sorted(files.get(place, ()))]


def _accounted(plan: _Plan, total: Merged) -> Marks:
    """The marks after the merge: what became of the raw rows, each counted where it was seen to."""
    uris = {file.uri for file in plan.raw}
    counts = {date.fromisoformat(day): Counter(_named(of)) for day, of in plan.marks.accounts.items()}
    for fact in plan.facts:
        if fact.uri in uris:
            of_day = counts.setdefault(fact.day, Counter())
            of_day["rows_in"] += fact.rows
            of_day["rejected"] += fact.rows if (fact.file_name, fact.types) in plan.refused else 0
    for day, change in total.kept.items():
        counts[day]["rows_out"] += change
    for day, copies in total.duplicate.items():
        counts[day]["duplicate"] += copies
    for day, rejected in total.rejected.items():
        counts[day]["rejected"] += rejected
    accounts = {
        day.isoformat(): (of["rows_in"], of["rows_out"], of["duplicate"], of["rejected"])
        for day, of in sorted(counts.items())
    }
    return replace(
        plan.marks,
        generation=plan.marks.generation + 1,
        derived=plan.marks.derived + total.derived,
        accounts=accounts,
    )


def _named(counts: tuple[int, int, int, int]) -> dict[str, int]:
    return dict(zip(("rows_in", "rows_out", "duplicate", "rejected"), counts, strict=True))


def _check(
    declared: Declared, there: Iterable[DataFile], removed: Collection[str], written: Iterable[Written], marks: Marks
) -> None:
    """Each raw row has a row in the history, is refused, or is a copy.

    Raises:
        ClickstreamError: the files of the history have other rows than its accounts tell, or a day has changes of which
            nobody knows what became of them.
    """
    stay = sum(file.record_count for file in there if file.file_path not in removed)
    rows = stay + sum(file.rows for file in written) - marks.derived
    told = sum(rows_out for _, rows_out, _, _ in marks.accounts.values())
    if rows != told:
        raise ClickstreamError(
            f"{declared.name}_history would have {rows:,} changes and its accounts tell {told:,}: nothing was "
            "published; run with --replay."
        )
    for day, (rows_in, rows_out, duplicate, rejected) in marks.accounts.items():
        if rows_in != rows_out + duplicate + rejected or min(rows_out, duplicate, rejected) < 0:
            raise ClickstreamError(
                f"Of {rows_in:,} changes of {declared.name} that were first seen on {day}, {rows_out:,} would be in "
                f"the history, {duplicate:,} are copies and {rejected:,} were refused: nothing was published; run "
                "with --replay."
            )


def _quarantine(rows: pa.Table, declared: Declared, run_id: str, day: date) -> pa.Table:
    count = rows.num_rows
    constants = {
        "asset": declared.name,
        "run_id": run_id,
        "quarantined_at": datetime.now(UTC),
        "partition_date": day,
        "partition_hour": None,
    }
    found = {name: rows[name] for name in ("source_file", "source_line", "rule", "payload")}
    arrays = [
        found[f.name].cast(f.type) if f.name in found else pa.array([constants[f.name]] * count, f.type)
        for f in QUARANTINE.arrow
    ]
    return pa.Table.from_arrays(arrays, schema=QUARANTINE.arrow)


def _registered(declared: Declared) -> schemas.Table:
    """The current state under its name in the ledger; its columns are not the registry's business."""
    return schemas.Table(
        name=declared.name,
        domain="cdc",
        lake=declared.name,
        columns=(),
        partition=(declared.partition_by or "_bucket",),
        description=f"The rows of {declared.table} as they are now.",
    )


def _plain(declared: Declared) -> list[Any]:
    """What of a declaration the rows depend on."""
    return [
        dict(one) if isinstance(one, Mapping) else one
        for name, one in zip(declared.__dataclass_fields__, astuple(declared), strict=True)
        if name != "columns"
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
