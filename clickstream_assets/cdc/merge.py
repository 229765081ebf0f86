"""The merge of changes into the history of a table, in DuckDB: sets of keys, never row by row.

The order of the changes of a key is that of ``PLACE``. A batch is merged by groups of buckets, so that memory stays
within bounds; what the merge of a group leaves is Parquet files, which the caller commits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickstream_assets.cdc import columns as typed
from clickstream_assets.cdc.columns import Numbers
from clickstream_assets.cdc.declared import DYNAMODB, Declared
from clickstream_assets.cdc.tables import BUCKETS, HISTORY, STATE, duckdb_type, reading
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.storage.duckdb_warehouse import CONFIG
from clickstream_assets.storage.lake import ROW_GROUP
from clickstream_assets.storage.warehouse import identifier

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: deletes that stand for no raw row of their key
KEY_CHANGED, ABSENT = "key_changed", "absent_from_load"

#: the order of the changes of a key; DynamoDB's clock is not part of it, and a change without a time precedes all
_TIME = "coalesce(epoch_us(valid_from), -9223372036854775808)"
_PLACE = ("_sequence", "_kind", "_file_name", "_source_line")

#: tables of one group of buckets
_TEMPORARY = (
    *("parsed", "changes", "keys", "existing", "late", "ties", "tied", "again", "placed", "copies", "versions"),
    "absent",
)

_SAME_CHANGE = """
coalesce(lag(_t) over places = _t and lag(_sequence) over places = _sequence and lag(_kind) over places = _kind
         and (lag(_content) over places = _content or {copies_by_sequence}), false)
"""

_TIES = """
create or replace temp table ties as
select _key, _t, _sequence
from (select _key, _t, _sequence, _content, true as _is_new from changes where {can_tie}
      union all
      select _key, _t, _sequence, _content, false from existing
      where {can_tie} and _reason is distinct from 'absent_from_load')
group by all
having count(distinct _content) > 1 and bool_or(_is_new) and not bool_and(_is_new)
"""

_LATE = """
create or replace temp table late as
select distinct existing._key
from existing join (select _key, min({place}) as _first from changes group by _key) as batch using (_key)
where batch._first <= {existing_place}
union
select _key from existing where _reason = 'absent_from_load'
"""

_COUNTS = """
select _first_seen, coalesce(_reason in ('key_changed', 'absent_from_load'), false), count(*)
from {table} group by all
"""


@dataclass
class Merged:
    """What the merge of a group finds: files to be replaced, and how the counts of the history change.

    ``kept``: history rows by the day of their raw row. ``derived``: rows that stand for no raw row. ``duplicate``:
    changes that were left out as copies. ``rejected``: changes with a value that is none. ``unknown``: updates of keys
    that were never inserted.
    """

    replaced: set[str] = field(default_factory=set)
    kept: Counter[date] = field(default_factory=Counter)
    derived: int = 0
    duplicate: Counter[date] = field(default_factory=Counter)
    rejected: Counter[date] = field(default_factory=Counter)
    unknown: int = 0


@dataclass(frozen=True)
class Load:
    """The place of a full load among the changes: what it does not have was gone by then.

    ``last``: when its last row was read, where the source tells it.
    """

    committed_at: datetime | None
    sequence: str
    last: datetime | None = None


@contextmanager
def connected(memory: str, temporary: Path, *, on_s3: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that may use so much of it, and a folder for what does not fit."""
    import duckdb

    from clickstream_assets.storage.s3 import S3

    config: dict[str, Any] = {
        **CONFIG,
        "preserve_insertion_order": "false",
        "memory_limit": memory,
        "temp_directory": str(temporary),
    }
    with closing(duckdb.connect(":memory:", config=config)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        if on_s3:
            S3.find().prepare(connection)
        yield connection


class Merge:
    """Merges raw changes into the history of one table; ``columns``: those of the row, with their types.

    ``refused``: the rule by which the changes of a file, by its name and types, are not taken. ``reals``: columns of
    double in some of whose files they are real: a value is what it was there, also where it is read anew.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        declared: Declared,
        columns: Mapping[str, str],
        loads: Sequence[Load],
        refused: Mapping[tuple[str, str], str],
        reals: Collection[str] = (),
    ):
        self._connection = connection
        self._declared = declared
        self._columns = columns
        self._history = {**columns, **HISTORY}
        self._dynamodb = declared.source == DYNAMODB
        self._t = "0::bigint" if self._dynamodb else _TIME
        self._names = ", ".join(identifier(name) for name in self._history)
        self._loads = loads
        self._make("loads", "_n bigint, _committed_at timestamptz, _loaded bigint, _number varchar")
        for n, load in enumerate(loads):
            self._run(
                f"insert into loads select n, valid_from, {self._t}, number from "
                "(select ? as n, cast(? as timestamptz) as valid_from, ? as number)",
                [n, load.committed_at, load.sequence],
            )
        self._reals = reals
        self._make("refused", "file_name varchar, types varchar, rule varchar")
        if refused:
            rows = [[*file, rule] for file, rule in refused.items()]
            self._connection.executemany("insert into refused values (?, ?, ?)", rows)
        self._make("all_keys", "_key varchar, _bucket integer")

    # --- steps of one group of buckets -------------------------------------------------------------------------------

    def read(self, raw: Sequence[str], buckets: Collection[int]) -> None:
        """Read the changes of the group's keys from raw files."""
        self._run(f"create or replace temp table parsed as {self._parsed(raw, buckets)}")
        self._run(f"create or replace temp table changes as {self._changes(buckets)}")
        self._run("create or replace temp table keys as select distinct _key, _bucket from changes")

    def add_keys_of_loads(self, opened: Sequence[str]) -> None:
        """Look again at the keys that loads may not have, or were found not to have; ``opened``: newest versions."""
        if self._loads and opened:
            self._run(
                "insert into keys select _key, _bucket from (select *, "
                f"{self._t} as _t from {reading(opened, self._history)}) as rows "
                "where (_reason is not distinct from 'absent_from_load' "
                f"or (op <> 'D' and exists (select 1 from loads where {self._before('rows', 'loads')}))) "
                "and _key not in (select _key from keys)"
            )

    def merge(self, opened: Sequence[str], closed: Sequence[str], raw: Sequence[str]) -> Merged:
        """Find all versions of the keys that change; ``raw``: every raw file, for copies that are none any more."""
        merged = Merged()
        mine = "select * from {files} semi join keys using (_key)"
        self._existing("create or replace temp table existing as", mine, opened)
        merged.replaced |= self._holding(opened, "keys")
        can_tie = "_kind = 'load'" if self._dynamodb else "true"
        older = "select * from {files} semi join late using (_key)"
        self._run(_LATE.format(place=self._place(), existing_place=self._place("existing")))
        if self._any("late") and closed:
            self._existing("insert into existing", older, closed)
        self._run(_TIES.format(can_tie=can_tie))
        self._run("create or replace temp table again as select * from changes where false")
        if self._any("ties"):
            newer = "select distinct _key from ties where _key not in (select _key from late)"
            self._run(f"create or replace temp table tied as {newer}")
            self._existing("insert into existing", older.replace("late", "tied"), closed)
            self._run("insert into late select _key from tied")
            self._fetch_ties(raw)
        if self._any("late") and closed:
            merged.replaced |= self._holding(closed, "late")
        self._order()
        self._find_absent()
        for table, sign in (("versions", 1), ("existing", -1)):
            for day, derived, count in self._run(_COUNTS.format(table=table)):
                if derived:
                    merged.derived += sign * count
                else:
                    merged.kept[day] += sign * count
        for table, sign in (("copies", 1), ("again", -1)):
            for day, derived, count in self._run(_COUNTS.format(table=table)):
                merged.duplicate[day] += 0 if derived else sign * count
        merged.rejected.update(
            dict(self._run("select _first_seen, count(*) from parsed where _bad and _main group by _first_seen"))
        )
        if not self._dynamodb:
            ((merged.unknown,),) = self._run(_UNKNOWN.format(place=self._place()))
        self._run("insert into all_keys select _key, _bucket from keys")
        return merged

    def buckets(self) -> list[int]:
        """The buckets of the keys of the group."""
        return [bucket for (bucket,) in self._run("select distinct _bucket from keys order by 1")]

    def write_history(
        self, path: str, bucket: int, *, opened: bool, kept_of: Sequence[str], ids: Mapping[str, int]
    ) -> int:
        """Write the newest versions of a bucket, or the older ones; ``kept_of``: files whose other rows stay."""
        others = "keys" if opened else "late"
        versions = f"select {self._names} from versions where _bucket = {bucket} and {'' if opened else 'not '}_open"
        stay = f"select {self._names} from {reading(kept_of, self._history)} anti join {others} using (_key)"
        return self.copy(f"{versions} union all {stay}" if kept_of else versions, path, ids)

    def sizes(self) -> dict[tuple[bool, int], int]:
        """Versions of the group by whether they are the newest, and their bucket."""
        found = self._run("select _open, _bucket, count(*) from versions group by all")
        return {(opened, bucket): count for opened, bucket, count in found}

    def rejects(self, raw: Sequence[str], *, payload: str) -> pa.Table:
        """What is not taken of some raw files, as the quarantine has it.

        ``payload``: SQL of what is kept of a change, with {after} and {before}.
        """
        further = ", source_file as _file, after as _after, before as _told"
        payload_of_bad = payload.format(after="_after", before="_told")
        payload = payload.format(after="after", before="before")
        refused = (
            f"select source_file, source_line, rule, {payload} as payload from {raw_rows(raw)} "
            "join refused using (file_name, types)"
        )
        bad = (
            f"select _file, _source_line, '{typed.BAD_VALUE}', {payload_of_bad} "
            f"from ({self._parsed(raw, range(BUCKETS), further)}) where _bad"
        )
        return self._connection.execute(f"{refused} union all {bad} order by 1, 2").to_arrow_table()

    def finish(self) -> None:
        """Forget the group."""
        for table in _TEMPORARY:
            self._run(f"drop table if exists {table}")

    # --- current state -----------------------------------------------------------------------------------------------

    def write_state(self, path: str, opened: Sequence[str], ids: Mapping[str, int]) -> int:
        """Write the rows that are there, from the newest versions of a bucket."""
        return self.copy(self._state(opened), path, ids)

    def holding_keys(self, uris: Sequence[str], columns: Mapping[str, str]) -> set[str]:
        """Which files have keys of the batch."""
        return self._holding(uris, "all_keys", columns)

    def prepare_state(self, opened: Sequence[str], kept_of: Sequence[str], by: str, *, whole: bool) -> list[Any]:
        """Gather the rows of the state that are to be written, by the values of a column; returns those."""
        names = ", ".join(identifier(name) for name in (*self._columns, *STATE))
        new = self._state(opened) + ("" if whole else " and _key in (select _key from all_keys)")
        stay = (
            f" union all select {names} from {reading(kept_of, {**self._columns, **STATE})} "
            "anti join all_keys using (_key)"
        )
        self._run(f"create or replace temp table state as {new}{stay if kept_of else ''}")
        return [value for (value,) in self._run(f"select distinct {identifier(by)} from state order by 1")]

    def write_partition(self, path: str, by: str, value: Any, ids: Mapping[str, int]) -> int:
        """Write the gathered rows of one value."""
        names = ", ".join(identifier(name) for name in (*self._columns, *STATE))
        self._run("set variable partition_value = ?", [value])
        wanted = f"cast(getvariable('partition_value') as {duckdb_type(self._columns[by])})"
        mine = f"{identifier(by)} is not distinct from {wanted}"
        return self.copy(f"select {names} from state where {mine}", path, ids)

    def copy(self, select: str, path: str, ids: Mapping[str, int]) -> int:
        """Write rows to a Parquet file whose columns have their field ids; the number of rows."""
        numbered = ", ".join(f"{identifier(name)}: {number}" for name, number in ids.items())
        to = path.replace("'", "''")
        options = f"format parquet, field_ids {{{numbered}}}, row_group_size {ROW_GROUP}"
        ((rows,),) = self._run(f"copy ({select}) to '{to}' ({options})")
        return int(rows)

    def reconciled(
        self, load: Load, history: Sequence[str], state: Sequence[str]
    ) -> tuple[int, int, int, int, int, int]:
        """A full load beside what the other changes say: keys before it, and the figures of ``apply.Reconciled``."""
        texts = ", ".join(f"coalesce({identifier(name)}::varchar, chr(31))" for name in sorted(self._columns))
        content = f"(md5_number_lower(concat_ws(chr(30), {texts})) >> 4)::hugeint as h"
        if self._dynamodb:
            mine = "rows._sequence = load._number"
        elif load.committed_at is None:
            mine = "rows.valid_from is null"
        else:
            mine = "rows.valid_from between load._committed_at and load._last"
        sql = _RECONCILED.format(
            load=f"{self._t} as _loaded",
            content=content,
            history=f"(select *, {self._t} as _t from {reading(history, self._history)})",
            before=self._before("rows", "load"),
            mine=f"rows.op = 'L' and {mine}",
            last_first=", ".join(f"{column} desc" for column in ("_t", *_PLACE)),
            state=reading(state, {**self._columns, **STATE}),
        )
        (found,) = self._run(sql, [load.committed_at, load.last, load.sequence])
        return found  # type: ignore[no-any-return]

    # --- statements --------------------------------------------------------------------------------------------------

    def _parsed(self, raw: Sequence[str], buckets: Collection[int], further: str = "", where: str = "") -> str:
        """The raw rows of the group with their values; ``_bad`` where one cannot be taken."""
        source = raw_rows(raw)
        mine = ""
        if len(buckets) < BUCKETS:
            wanted = ", ".join(str(bucket) for bucket in buckets)
            mine = (
                f" and ({_bucket('key')} in ({wanted}) or (old_key is not null and {_bucket('old_key')} in ({wanted})))"
            )
        values = ", ".join(f"{self._value(name, kind)} as {identifier(name)}" for name, kind in self._columns.items())
        main = f"{_bucket('key')} in ({', '.join(str(bucket) for bucket in buckets)})"
        return f"""
            select * exclude (_row), op <> 'D' and ({self._bad()}) as _bad
            from (
                select {values}, _row, op, reason as _reason, committed_at as valid_from, sequence as _sequence,
                       kind as _kind, file_name as _file_name, source_line as _source_line, first_seen as _first_seen,
                       _content, key as _key, {_bucket("key")} as _bucket, old_key as _old_key,
                       before as _before, _types,
                       {main} as _main{further}
                from (
                    select *, from_json(case when op = 'D' then before else after end, {self._structure()}) as _row,
                           {_CONTENT} as _content, types as _types
                    from {source}
                    where (file_name, types) not in (select (file_name, types) from refused){mine}{where}))"""

    def _changes(self, buckets: Collection[int]) -> str:
        """Versions as the history has them: of each row, and the end of the key that a row had before."""
        rest = (
            "valid_from, cast(null as timestamptz) as valid_to, {reason} as _reason, _sequence, _kind, _file_name, "
            "_source_line, _first_seen, {content} as _content, {key} as _key, true as _open, {bucket} as _bucket"
        )
        main = rest.format(reason="_reason", content="_content", key="_key", bucket="_bucket")
        moved = rest.format(reason=f"'{KEY_CHANGED}'", content="_content", key="_old_key", bucket=_bucket("_old_key"))
        names = ", ".join(self._with_key(name, "_key") for name in self._columns)
        of_key = ", ".join(
            f"{self._value(name, kind, row='_old', key='_old_key')} as {identifier(name)}"
            for name, kind in self._columns.items()
        )
        wanted = ", ".join(str(bucket) for bucket in buckets)
        return f"""
            select *, {self._t} as _t
            from (
                select {names}, op, {main} from parsed where _main and not _bad
                union all
                select {of_key}, 'D' as op, {moved}
                from (select *, from_json(_before, {self._structure()}) as _old from parsed
                      where _old_key is not null and op = 'U' and _old_key <> _key and not _bad)
                where {_bucket("_old_key")} in ({wanted}))"""

    def _existing(self, into: str, select: str, files: Sequence[str]) -> None:
        found = select.format(files=reading(files, self._history))
        self._run(f"{into} select {self._names}, {self._t} as _t from ({found})")

    def _fetch_ties(self, raw: Sequence[str]) -> None:
        """Of changes at one moment copies were left out that may be none now: all of them are looked at again.

        Two changes are copies when nothing is between them. A new change between them makes the second one count. What
        is looked at again are those that are neither in the history nor new, and were counted as copies.
        """
        self._run("create or replace temp table of_batch as select * from changes")
        self._run("create or replace temp table parsed_of_batch as select * from parsed")
        everything = range(BUCKETS)
        where = " and (key in (select _key from ties) or old_key in (select _key from ties))"
        self._run(f"create or replace temp table parsed as {self._parsed(raw, everything, where=where)}")
        self._run(f"create or replace temp table changes as {self._changes(everything)}")
        place = ", ".join(("_key", "_t", *_PLACE, "_content"))
        self._run(
            "insert into again select * from changes semi join ties using (_key, _t, _sequence) "
            f"anti join of_batch using ({place}) anti join existing using ({place})"
        )
        for name in ("changes", "parsed"):
            self._run(f"drop table {name}")
        self._run("alter table of_batch rename to changes")
        self._run("alter table parsed_of_batch rename to parsed")

    def _order(self) -> None:
        """All versions of the keys in their order, without copies, each closed by the next."""
        copies = "_kind = 'change'" if self._dynamodb else "false"
        same = _SAME_CHANGE.format(copies_by_sequence=copies)
        window = f"window places as (partition by _key order by _t, {', '.join(_PLACE)})"
        later = {"valid_to": "lead(valid_from) over places", "_open": "lead(_key) over places is null"}
        names = ", ".join(
            f"{later[name]} as {identifier(name)}" if name in later else identifier(name) for name in self._history
        )
        # DynamoDB's order is that of the sequence, whose times need not rise with it: those of a resync's items are the
        # scan's. A version is valid from its own time, or from that of the one before it, whichever is later.
        rising = f"max(valid_from) over (places rows unbounded preceding) as {identifier('valid_from')}"
        placed = ", ".join(
            rising if name == "valid_from" and self._dynamodb else identifier(name) for name in self._history
        )
        self._run(
            f"create or replace temp table placed as select {self._names}, _t, {same} as _is_copy from "
            f"(select {self._names}, _t from existing where _reason is distinct from '{ABSENT}' "
            f"union all select {self._names}, _t from changes union all select {self._names}, _t from again) {window}"
        )
        self._run("create or replace temp table copies as select _first_seen, _reason from placed where _is_copy")
        self._run(
            f"create or replace temp table versions as select {names}, _t from "
            f"(select {placed}, _t from placed where not _is_copy {window}) {window}"
        )

    def _find_absent(self) -> None:
        """Keys whose newest version is older than a load that does not have them were deleted by then."""
        if not self._loads:
            return
        self._run(
            "create or replace temp table absent as select _key, min(_n) as _n from versions join loads "
            f"on {self._before('versions', 'loads')} where _open and op <> 'D' group by _key"
        )
        derived = {
            "op": "'D'",
            "valid_from": "greatest(loads._committed_at, versions.valid_from)",
            "valid_to": "null",
            "_reason": f"'{ABSENT}'",
            "_sequence": "loads._number",
            "_kind": "'load'",
            "_file_name": "''",
            "_source_line": "0",
            "_first_seen": "null",
            "_content": "0",
        }
        values = ", ".join(
            derived.get(name) or (identifier(name) if name in (*HISTORY, *self._declared.primary_key) else "null")
            for name in self._history
        )
        self._run(
            f"insert into versions select {values}, loads._loaded "
            "from versions join absent using (_key) join loads using (_n) where _open"
        )
        self._run(
            "update versions set _open = false, valid_to = greatest(loads._committed_at, versions.valid_from) "
            "from absent join loads using (_n) "
            f"where versions._key = absent._key and versions._open and versions._reason is distinct from '{ABSENT}'"
        )

    def _state(self, opened: Sequence[str]) -> str:
        own = {"_changed_at": "valid_from"}
        names = ", ".join(
            f"{own[name]} as {identifier(name)}" if name in own else identifier(name)
            for name in (*self._columns, *STATE)
        )
        return f"select {names} from {reading(opened, self._history)} where op <> 'D'"

    def _holding(self, files: Sequence[str], keys: str, columns: Mapping[str, str] | None = None) -> set[str]:
        if not files:
            return set()
        source = reading(files, columns or self._history)
        return {uri for (uri,) in self._run(f"select distinct _uri from {source} semi join {keys} using (_key)")}

    def _before(self, rows: str, loads: str) -> str:
        """Whether a version comes before a load. A change of DynamoDB with the load's number does."""
        if self._dynamodb:
            return (
                f"({rows}._sequence < {loads}._number "
                f"or ({rows}._sequence = {loads}._number and {rows}._kind = 'change'))"
            )
        return f"{rows}._t < {loads}._loaded"

    def _place(self, table: str = "") -> str:
        of = f"{table}." if table else ""
        return f"row({', '.join(of + name for name in ('_t', *_PLACE))})"

    def _structure(self) -> str:
        names = {*self._columns, *self._declared.renames}
        return _quoted(json.dumps(dict.fromkeys(sorted(names), "VARCHAR")))

    def _text(self, name: str, row: str) -> str:
        return _told(name, row, self._declared.renames)

    def _value(self, name: str, kind: str, row: str = "_row", key: str | None = None) -> str:
        text = self._text(name, row)
        if key is not None and name in self._declared.primary_key:
            text = f"coalesce({text}, {key} ->> {self._declared.primary_key.index(name)})"
        if name in self._declared.types:
            return typed.exactly(text, kind)
        if name in self._reals:
            as_real = f"cast({typed.value(text, 'real')} as double)"
            return f"case when _types ->> {_quoted(name)} = 'real' then {as_real} else {typed.value(text, kind)} end"
        return typed.value(text, kind)

    def _with_key(self, name: str, key: str) -> str:
        """The value of a column; of a delete's key column that of the key, where the delete told no more than that."""
        if name not in self._declared.primary_key:
            return identifier(name)
        text = f"({key} ->> {self._declared.primary_key.index(name)})"
        return f"coalesce({identifier(name)}, {typed.value(text, self._columns[name])}) as {identifier(name)}"

    def _bad(self) -> str:
        checked = [name for name, kind in self._columns.items() if kind not in typed.TEXTS]
        bad = [f"({self._text(name, '_row')} is not null and {identifier(name)} is null)" for name in checked]
        return " or ".join(bad) or "false"

    def _any(self, table: str) -> bool:
        ((found,),) = self._run(f"select exists (select 1 from {table})")
        return bool(found)

    def _make(self, name: str, columns: str) -> None:
        self._run(f"create or replace temp table {name} ({columns})")

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        rows: list[Any] = self._connection.execute(sql, list(parameters)).fetchall()
        return rows


_UNKNOWN = """
select count(*)
from (select _key, arg_min(struct_pack(op := op, f := _file_name, l := _source_line), {place}) as _first
      from changes anti join existing using (_key) group by _key) as new_keys
where _first.op = 'U'
  and not exists (select 1 from parsed where _old_key is not null and parsed._key = new_keys._key
                  and _file_name = _first.f and _source_line = _first.l)
"""

#: a load beside what was known before it and what is there now, by range of keys: how many, and the sum of their rows'
#: hashes. Keys that changed since it began are left out: its rows may have these changes already, or not yet.
_RECONCILED = """
with load as (select *, {load}
              from (select cast($1 as timestamptz) as valid_from, cast($1 as timestamptz) as _committed_at,
                           cast($2 as timestamptz) as _last, $3 as _number)),
     placed as (select rows._key, rows._bucket, rows.op, {content}, {before} as _before,
                       coalesce({mine}, false) as _mine,
                       rows._reason is not distinct from 'absent_from_load' and rows._t = load._loaded
                           and rows._sequence = load._number as _absent,
                       rows._t, rows._sequence, rows._kind, rows._file_name, rows._source_line
                from {history} as rows, load),
     later as (select distinct _key from placed where not (_before or _mine or _absent)),
     newest as (select * from placed anti join later using (_key) where _before or _mine
                qualify row_number() over (partition by _key, _mine order by {last_first}) = 1),
     loaded as (select _key, _bucket, h from newest where _mine),
     before as (select _key, _bucket, h from newest where not _mine and op <> 'D'),
     after as (select _key, _bucket, {content} from {state} anti join later using (_key)),
     ranges as (
         select _bucket, count(*) filter (of = 'load') as keys, sum(h) filter (of = 'load') as hash,
                count(*) filter (of = 'before') as keys_before, sum(h) filter (of = 'before') as hash_before,
                count(*) filter (of = 'after') as keys_after, sum(h) filter (of = 'after') as hash_after
         from (select 'load' as of, * from loaded union all select 'before', * from before
               union all select 'after', * from after)
         group by _bucket)
select (select count(*) from before), count(*),
       count(*) filter ((keys, hash) is distinct from (keys_before, hash_before)),
       count(*) filter ((keys, hash) is distinct from (keys_after, hash_after)),
       (select count(*) from loaded anti join before using (_key)),
       (select count(*) from before anti join loaded using (_key))
from ranges
"""

#: what a change says, as a number: two changes at one place of the order that have the same are one
_CONTENT = (
    "(md5_number_lower(concat_ws(chr(30), op, coalesce(old_key, chr(31)), coalesce(before, chr(31)), "
    "coalesce(after, chr(31)))) >> 1)::bigint"
)


def raw_rows(raw: Sequence[str]) -> str:
    """SQL of the rows of raw files."""
    if not raw:
        nothing = ", ".join(f"cast(null as {one.type}) as {identifier(one.name)}" for one in CDC_CHANGES.columns)
        return f"(select {nothing} where false)"
    return f"read_parquet([{', '.join(_quoted(uri) for uri in raw)}], hive_partitioning = false, filename = true)"


def facts(connection: duckdb.DuckDBPyConnection, raw: Sequence[str], *, by_file: bool) -> list[tuple[Any, ...]]:
    """What raw files are about: the fields of ``apply.Fact``."""
    if not raw:
        return []
    name = "file_name" if by_file else "''"
    load = "''" if by_file else "case when kind = 'load' then sequence else '' end"
    rows: list[tuple[Any, ...]] = connection.execute(
        f"select filename, {name} as file_name, types, kind, {load} as load, "
        "first_seen, count(*), min(committed_at), max(committed_at), bool_or(committed_at is null), "
        f"bool_or(after is not null) from {raw_rows(raw)} group by all"
    ).fetchall()
    return rows


def numbers(
    connection: duckdb.DuckDBPyConnection, raw: Sequence[str], names: Sequence[str], renames: Mapping[str, str]
) -> dict[str, Numbers]:
    """What the values of columns of numbers need, over some raw files."""
    if not raw or not names:
        return {}
    structure = _quoted(json.dumps(dict.fromkeys(sorted({*names, *renames}), "VARCHAR")))
    of_each = ", ".join(
        f"max(length(ltrim(split_part(ltrim({value}, '-'), '.', 1), '0'))), max(length(split_part({value}, '.', 2))), "
        f"bool_or(contains(lower({value}), 'e'))"
        for value in (_told(name, "r", renames) for name in names)
    )
    (row,) = connection.execute(
        f"select {of_each} from (select from_json(case when op = 'D' then before else after end, {structure}) as r "
        f"from {raw_rows(raw)})"
    ).fetchall()
    triples = (row[n : n + 3] for n in range(0, len(row), 3))
    return {
        name: Numbers(digits or 0, scale or 0, bool(odd))
        for name, (digits, scale, odd) in zip(names, triples, strict=True)
    }


def _told(name: str, row: str, renames: Mapping[str, str]) -> str:
    """SQL of the text of a column in a struct, which may have it under a name that it had."""
    sources = [source for source, target in sorted(renames.items()) if target == name]
    texts = [f"{row}[{_quoted(one)}]" for one in (name, *sources)]
    return f"coalesce({', '.join(texts)})" if len(texts) > 1 else texts[0]


def _bucket(key: str) -> str:
    """SQL of ``tables.bucket``."""
    return f"(md5_number_upper({key}) % {BUCKETS})::integer"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
