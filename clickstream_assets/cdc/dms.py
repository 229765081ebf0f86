"""Files of AWS DMS: full loads and changes as CSV or Parquet, read as rows of ``cdc_raw.changes``.

The names say which is which: ``LOAD`` and hexadecimal digits, or the time stamp of changes, which is their commit time
where the file has no column with it. The JSON columns are made by DuckDB, a block of records at a time.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.cdc.declared import MOST, Declared, column, repeated
from clickstream_assets.cdc.rows import CHANGE, LOAD, LOADED, SCHEMA, SEQUENCE_DIGITS, Places, judged
from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing import arrow_csv, delimited
from clickstream_assets.parsing.content import Prefixed, Readable
from clickstream_assets.parsing.formats import Batch, Broken, Reader
from clickstream_assets.parsing.json_objects import connect, query, quoted
from clickstream_assets.settings import Limits

CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".csv.gz"), (".parquet",)

_LOAD = re.compile(r"LOAD[0-9A-F]+", re.IGNORECASE)
_CHANGES = re.compile(r"([0-9]{8}-[0-9]{6})([0-9]{0,6})(?:[-_][0-9A-Za-z_-]+)?")

#: columns with the commit time and with the order of changes, where the declaration names none
TIMESTAMPS = ("commit_ts", "commit_timestamp", "dms_timestamp")
SEQUENCES = ("change_seq", "ar_h_change_seq")

#: the column with the operation, as ``column`` has it; what begins the names of columns with the row before
_OPERATION, _IMAGE = "op_", "bi_"

#: what full loads have as the operation, if they have one
_OPERATIONS = frozenset("IUD")

_NO_OPERATION = "its first column is not Op, as that of every file of changes is"

#: rows of a Parquet file that are taken at a time, and bytes of one that are held in memory before it goes to disk
_BATCH_ROWS, _IN_MEMORY = 65_536, 64 * 1024 * 1024


@dataclass(frozen=True)
class Name:
    """What the name of a file says: whether it is of a full load, when changes were committed, and the format."""

    load: bool
    stamp: datetime | None
    parquet: bool


def is_load(name: str) -> bool:
    """Whether a file of that name is of a full load."""
    return _LOAD.match(name) is not None


def name_of(path: str) -> Name:
    """What a file's name says.

    Raises:
        RejectedFile: it is no name that DMS gives.
    """
    name = PurePosixPath(path).name
    suffix = next((s for s in (*CSV_SUFFIXES[::-1], *PARQUET_SUFFIXES) if name.lower().endswith(s)), None)
    stem = name[: -len(suffix)] if suffix else ""
    parquet = suffix in PARQUET_SUFFIXES
    if _LOAD.fullmatch(stem):
        return Name(True, None, parquet)
    if match := _CHANGES.fullmatch(stem):
        try:
            second = datetime.strptime(match[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            return Name(False, second.replace(microsecond=int((match[2] or "0").ljust(6, "0"))), parquet)
    raise RejectedFile(
        "its name is none that DMS gives: LOAD and hexadecimal digits for full loads, YYYYMMDD-HHMMSSmmm for changes, "
        "ending in .csv, .csv.gz or .parquet"
    )


def reader(declared: Declared, path: str) -> Reader:
    """The reader of a file of a declared table; it gives the columns of ``rows.SCHEMA``.

    Raises:
        RejectedFile: the name is none that DMS gives.
    """
    name = name_of(path)
    read = _parquet if name.parquet else _csv

    def of_file(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
        return read(declared, name, stream, limits)

    return of_file


class _Fields:
    """A file's columns in order: SQL of the text of each, null where it has none, and its type at the source.

    DuckDB knows them as ``c0`` and so on.
    """

    def __init__(self, names: Sequence[str], types: Sequence[pa.DataType] | None = None):
        self.names = list(names)
        self.typed = types is not None
        pairs = [_sql_type(kind, f"c{n}") for n, kind in enumerate(types)] if types is not None else []
        self.kinds: list[str | None] = [kind for kind, _ in pairs] or ["varchar"] * len(self.names)
        #: of CSV the empty text, which may stand for null
        self.plain = [text for _, text in pairs] or [f"c{n}" for n in range(len(self.names))]

    def text(self, place: int) -> str:
        """SQL of a column's text."""
        return self.plain[place] if self.typed else f"nullif(c{place}, '')"


class _Changes:
    """Makes changes of a file's records, all of a block in one statement. ``operation``: the first column has it.

    Raises:
        RejectedFile: the columns are not those of the table's changes.
    """

    def __init__(self, declared: Declared, name: Name, fields: _Fields, limits: Limits, *, operation: bool):
        self._connection = connect()
        self._load = name.load
        named = {n: column(field) for n, field in enumerate(fields.names) if n or not operation}
        if twice := repeated(named.values()):
            raise RejectedFile(f"several of its columns are called {twice[0]} here: rename one of them")
        if len(named) > limits.columns:
            raise RejectedFile(f"it has {len(named):,} columns; at most {limits.columns:,} are read")
        places = {here: n for n, here in named.items()}
        if lacking := [key for key in declared.primary_key if key not in places]:
            raise RejectedFile(f"it lacks {', '.join(lacking)}, of its primary key")
        time = _chosen(declared.timestamp, TIMESTAMPS, places, "timestamp", load=name.load)
        sequence = _chosen(declared.sequence, SEQUENCES, places, "sequence", load=name.load)
        kept = [here for here in places if here not in (time, sequence)]
        images = {here for here in kept if here.startswith(_IMAGE) and here.removeprefix(_IMAGE) in kept}
        own = [here for here in kept if here not in images]
        if long := [here for here in own if len(declared.renames.get(here, here)) > MOST]:
            raise RejectedFile(
                f"its column {long[0]} has more than {MOST} characters: declare a shorter name for it under renames"
            )
        kinds = {here.removeprefix(_IMAGE): fields.kinds[places[here]] for here in images}
        kinds |= {here: fields.kinds[places[here]] for here in own}
        told = {here: kind for here, kind in sorted(kinds.items()) if kind is not None}
        self._types = json.dumps(told, separators=(",", ":"))
        shown = ", ".join(f"{quoted(field)}, {fields.plain[n]}" for n, field in enumerate(fields.names))
        self._shown = f"select json_object({shown})::varchar as text from t"  # noqa: S608
        self._sql = _statement(
            {here: fields.plain[places[here]] for here in declared.primary_key},
            {here: fields.text(places[here]) for here in own if here not in declared.primary_key},
            {here.removeprefix(_IMAGE): fields.text(places[here]) for here in sorted(images)},
            op=quoted(LOADED) if name.load else fields.plain[0],
            time=_time(fields, places[time] if time else None),
            stamp=f"timestamptz {quoted(name.stamp.isoformat(' '))}" if name.stamp else "null::timestamptz",
            sequence=f"coalesce({fields.text(places[sequence])}, '')" if sequence else "''",
            most=limits.record_bytes if fields.typed else None,
        )

    def batch(self, rows: pa.Table, found: int, lines: Places, numbers: Places, broken: Sequence[Broken]) -> Batch:
        """The changes of some records; ``rows``: their values, a column for each of the file's."""
        if not rows.num_rows:
            return Batch(found, SCHEMA.empty_table(), lines, numbers, broken)
        made = query(self._connection, self._sql, rows)
        count = rows.num_rows
        constant = {"kind": LOAD if self._load else CHANGE, "reason": None, "types": self._types}
        values = [
            pa.repeat(pa.scalar(constant[one.name], pa.string()), count) if one.name in constant else made[one.name]
            for one in SCHEMA
        ]
        faults = made["fault"]
        faulty = rows.filter(faults.is_valid())
        texts = query(self._connection, self._shown, faulty)["text"] if faulty.num_rows else pa.chunked_array([""])
        return judged(Batch(found, pa.table(values, schema=SCHEMA), lines, numbers, broken), faults, texts)


def _statement(
    keys: dict[str, str],
    others: dict[str, str],
    images: dict[str, str],
    *,
    op: str,
    time: tuple[str, str],
    stamp: str,
    sequence: str,
    most: int | None,
) -> str:
    """SQL that makes changes of the table ``t``.

    ``keys``, ``others``: SQL of the text of each column, ``images``: of what it was before. ``time``: of the commit
    time as it is written and as it is understood; ``stamp``: of what stands in for it. ``most``: bytes of a row of a
    file whose reader does not look at them, nor at the characters of its texts.
    """
    named = {f"k{n}": text for n, text in enumerate(keys.values())}
    named |= {f"v{n}": text for n, text in enumerate(others.values())}
    named |= {f"b{n}": text for n, text in enumerate(images.values())}
    image = {here: f"b{n}" for n, here in enumerate(images)}
    key, old = {}, {}
    for n, here in enumerate(keys):
        was = image.get(here)
        # Of a deleted row perhaps the image before is all that there is.
        key[here] = f"case when op = 'D' then coalesce(nullif(k{n}, ''), {was}, k{n}) else k{n} end" if was else f"k{n}"
        old[here] = f"coalesce({was}, k{n})" if was else f"k{n}"
    other = {here: f"v{n}" for n, here in enumerate(others)}
    now = key | other
    moved = " or ".join(f"{old[here]} <> k{n}" for n, here in enumerate(keys) if here in image) or "false"
    gone = {here: f"coalesce({sql}, {image[here]})" if here in image else sql for here, sql in now.items()}
    missing = " or ".join([f"{sql} is null" for sql in key.values()])
    missing += " or (" + " and ".join(f"{sql} = ''" for sql in key.values()) + ")"
    unfit = ""
    if most is not None:
        nul = " or ".join(f"contains({name}, chr(0))" for name in named)
        size = " + ".join(f"coalesce(strlen({name}), 0)" for name in named)
        unfit = f"when {nul} then 'bad_encoding' when {size} > {most} then 'too_long'"
    before = f"when op = 'D' then json_merge_patch('{{}}', {_object(gone)})"
    if images:
        before += f" when op = 'U' and coalesce({', '.join(image.values())}) is not null then {_object(image)}"
    return f"""
        with r as (
            select {op} as op, {time[0]} as written, {time[1]} as understood, {sequence} as place,
                {", ".join(f"{sql} as {name}" for name, sql in named.items())}
            from t
        )
        select op,
            case when op is null or op not in ('I', 'U', 'D', 'L') then 'bad_op'
                when {missing} then 'missing_key'
                when place <> '' and not regexp_full_match(place, '[0-9]{{1,{SEQUENCE_DIGITS}}}') then 'bad_sequence'
                when written is not null and (understood is null or not isfinite(understood)) then 'bad_commit_time'
                {unfit} end as fault,
            json_array({", ".join(key.values())})::varchar as key,
            case when op = 'U' and ({moved}) then json_array({", ".join(old.values())})::varchar end as old_key,
            (case {before} end)::varchar as before,
            (case when op <> 'D' then {_object(now)} end)::varchar as after,
            coalesce(understood, {stamp}) as committed_at,
            case when place = '' then '' else lpad(place, {SEQUENCE_DIGITS}, '0') end as sequence
        from r"""  # noqa: S608


def _object(values: Mapping[str, str]) -> str:
    return "json_object(" + ", ".join(f"{quoted(here)}, {sql}" for here, sql in values.items()) + ")"


def _chosen(said: str | None, known: Sequence[str], places: Container[str], what: str, *, load: bool) -> str | None:
    """The column that a declaration names, or the first of those that usually are it."""
    if said is None:
        return next((name for name in known if name in places), None)
    if said in places:
        return said
    if load:
        return None
    raise RejectedFile(f"it lacks {said}, which is declared as its {what}")


def _time(fields: _Fields, place: int | None) -> tuple[str, str]:
    """SQL of the commit time as it is written, null where it is not, and as it is understood."""
    if place is None:
        return "null::varchar", "null::timestamptz"
    text = fields.text(place)
    if fields.kinds[place] in ("timestamp", "timestamptz", "date"):
        return text, f"c{place}::timestamptz"
    # Shorter ones are words that DuckDB takes for times, or times without a date.
    return text, f"case when length({text}) >= 10 then try_cast({text} as timestamptz) end"


def _sql_type(kind: pa.DataType, name: str) -> tuple[str | None, str]:
    """The SQL type of a column of Parquet, none where it has nothing but nulls, and SQL of its text."""
    text = f"{name}::varchar"
    is_ = pa.types
    if is_.is_null(kind):
        return None, text
    if is_.is_boolean(kind):
        return "boolean", text
    if is_.is_uint64(kind):
        return "decimal(20,0)", text
    if is_.is_int64(kind) or is_.is_uint32(kind):
        return "bigint", text
    if is_.is_integer(kind):
        return "integer", text
    if is_.is_floating(kind):
        return ("double" if is_.is_float64(kind) else "real"), text
    if is_.is_decimal(kind) and not is_.is_decimal256(kind) and 0 <= kind.scale <= kind.precision:
        return f"decimal({kind.precision},{kind.scale})", text
    if is_.is_date(kind):
        return "date", f"{name}::date::varchar"
    if is_.is_timestamp(kind):
        shown = f"strftime({name}::timestamp, '%Y-%m-%d %H:%M:%S.%f')"
        # A time with a zone is one of UTC, which the session's is.
        return ("timestamptz", f"{shown} || '+00'") if kind.tz else ("timestamp", shown)
    if is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind):
        return "binary", f"base64({name})"
    if is_.is_nested(kind):
        return "json", f"to_json({name})::varchar"
    return "varchar", text


class _Recorded:
    """A stream of which what was read is kept, until it is known what it is."""

    def __init__(self, stream: Readable):
        self._stream = stream
        self._kept: list[bytes] | None = []

    def read(self, size: int, /) -> bytes:
        """Read on."""
        chunk = self._stream.read(size)
        if self._kept is not None:
            self._kept.append(chunk)
        return chunk

    def taken(self) -> bytes:
        """All that was read; what is read from now on is not kept."""
        kept, self._kept = self._kept or [], None
        return b"".join(kept)


def _csv(declared: Declared, name: Name, stream: Readable, limits: Limits) -> Iterator[Batch]:
    recorded = _Recorded(stream)
    found = delimited.read(recorded, limits)
    start = recorded.taken()
    first, before = found.header, 0
    if set(declared.primary_key) <= {column(field) for field in first}:
        operation = column(first[0]) == _OPERATION
        if not operation and not name.load:
            raise RejectedFile(_NO_OPERATION)
        names = first
    else:
        operation, names = _without_header(declared, name, first)
        line = ",".join(f'"{one}"' for one in names).encode() + b"\n"
        found, before = delimited.read(Prefixed(line + start.removeprefix(delimited.BOM), recorded), limits), 1
    changes = _Changes(declared, name, _Fields(names), limits, operation=operation)
    columns = arrow_csv.Columns(len(names), {f"c{n}": n for n in range(len(names))}, {})
    return (_of_block(changes, columns, block, before) for block in found.blocks)


def _without_header(declared: Declared, name: Name, first: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the records of a file without a header begin with their operation, and the names of their fields."""
    if not declared.columns:
        raise RejectedFile(
            f"its first line lacks {', '.join(declared.primary_key)} and so is no header: say in columns of "
            f"{declared.folder.removeprefix('cdc/')} what its columns are"
        )
    count = len(declared.columns)
    if not name.load:
        return True, ["Op", *declared.columns]
    if len(first) == count:
        return False, list(declared.columns)
    if len(first) == count + 1 and first[0] in _OPERATIONS:
        return True, ["Op", *declared.columns]
    raise RejectedFile(
        f"its first line has {len(first)} fields, and {count} columns are declared for files without a header"
    )


def _of_block(changes: _Changes, columns: arrow_csv.Columns, block: delimited.Block, before: int) -> Batch:
    """``before``: lines of the header that were put before the file."""
    rows = arrow_csv.parse(block, columns).drop_columns(["extra"])
    broken = [replace(one, line=one.line - before) for one in block.broken] if before else block.broken
    return changes.batch(rows, block.found, block.lines - before, block.numbers, broken)


def _parquet(declared: Declared, name: Name, stream: Readable, limits: Limits) -> Iterator[Batch]:
    read = _of_parquet(declared, name, stream, limits)
    next(read)  # an empty batch, when it is known that the file can be read; and begun, it closes what it has opened
    return read


def _of_parquet(declared: Declared, name: Name, stream: Readable, limits: Limits) -> Iterator[Batch]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        while chunk := stream.read(delimited.BLOCK_BYTES):
            spool.write(chunk)
        spool.seek(0)
        try:
            file = pq.ParquetFile(spool)
            changes, stored = _of_schema(declared, name, file, limits)
            for rows in _tables(file, stored):  # a page may be damaged: that must be known before a row is taken
                rows.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            why = " ".join(str(error).split())[:200]
            raise RejectedFile(f"it is no Parquet file that can be read: {why}") from error
        start = 1
        yield changes.batch(SCHEMA.empty_table(), 0, np.arange(0), np.arange(0), [])
        for rows in _tables(file, stored):
            places = np.arange(start, start + rows.num_rows)
            start += rows.num_rows
            yield changes.batch(rows, rows.num_rows, places, places, [])


def _of_schema(
    declared: Declared, name: Name, file: pq.ParquetFile, limits: Limits
) -> tuple[_Changes, list[pa.DataType]]:
    """What makes changes of a file's rows, and the types as which its columns are read."""
    size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
    if size > limits.file_bytes:
        raise RejectedFile(f"it is larger than {limits.file_bytes:,} bytes decompressed (CLICKSTREAM_MAX_FILE_BYTES)")
    schema = file.schema_arrow
    if not schema.names:
        raise RejectedFile("it has no columns")
    operation = column(schema.names[0]) == _OPERATION
    if not operation and not name.load:
        raise RejectedFile(_NO_OPERATION)
    stored = [_stored(field.type) for field in schema]
    return _Changes(declared, name, _Fields(schema.names, stored), limits, operation=operation), stored


def _tables(file: pq.ParquetFile, stored: Sequence[pa.DataType]) -> Iterator[pa.Table]:
    """A file's rows, some at a time, each column as the type as which it is read."""
    for batch in file.iter_batches(_BATCH_ROWS):
        arrays = [array.cast(kind, safe=False) for array, kind in zip(batch.columns, stored, strict=True)]
        yield pa.table(arrays, [f"c{n}" for n in range(len(arrays))])


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type as which a column is read: DuckDB knows no finer times than microseconds, and no larger decimals."""
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _stored(kind.storage_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if pa.types.is_decimal(kind) and (pa.types.is_decimal256(kind) or not 0 <= kind.scale <= kind.precision):
        return pa.string()
    return pa.float32() if pa.types.is_float16(kind) else kind
