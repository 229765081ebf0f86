"""JSON objects: keys matched by name, values read by DuckDB from the spans that ``json_records`` found.

Values come as text: of a number what DuckDB writes (``1.50`` is ``1.5``, ``1e3`` is ``1000.0``; integers at any
length, fractions to the 17 digits of a double), of an object or a list its JSON, of null nothing. A key must be written
exactly as asked for; of a key that is there twice the first counts. DuckDB's parser also takes a comma before a closing
bracket, NaN and Infinity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Batch, Broken
from clickstream_assets.parsing.json_records import BLOCK_BYTES, Block, Finder
from clickstream_assets.parsing.payload import payload
from clickstream_assets.settings import Limits

#: two, as the machines that this is measured on have; DuckDB's own default is all cores for each reader
_THREADS = 2

#: what no key has: the finder takes a record with \u0000 for a broken one
_NUL = "\0"
_KEYS = "array_to_string(json_keys(r), chr(0))"

#: rows of a batch that DuckDB's threads take one at a time
_CHUNK_ROWS = 4096


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own to a DuckDB in memory that fetches no extension and reads no file."""
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for the process: to begin one takes 10 ms."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "enable_external_access": "false",
            "python_enable_replacements": "false",
            "threads": _THREADS,
        },
    )
    connection.execute("set global TimeZone = 'UTC'")
    return connection


def query(connection: duckdb.DuckDBPyConnection, sql: str, rows: pa.Table) -> pa.Table:
    """The result of a statement over ``t``, in the order of ``rows``."""
    connection.register("t", pa.Table.from_batches(rows.to_batches(max_chunksize=_CHUNK_ROWS), rows.schema))
    try:
        return connection.execute(sql).to_arrow_table()
    finally:
        connection.unregister("t")


def read(
    stream: Readable, columns: Sequence[str], limits: Limits, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[Batch]:
    """Read a file of JSON objects; where a record lacks the key of a column, the column is null."""
    return _batches(Finder(stream, limits, block_bytes=block_bytes), _Objects(columns))


def _batches(finder: Finder, objects: _Objects) -> Iterator[Batch]:
    while (block := finder.next()) is not None:
        rows = objects.rows(block.records)
        if rows is not None:
            yield Batch(block.found, rows, block.lines, block.numbers, block.broken)
            continue
        valid = objects.valid(block.records)
        if block.judged:
            yield _without(block, valid, objects)
            continue
        first = int(np.flatnonzero(~valid)[0])
        if first:
            yield Batch(first, objects.sound(block.records.slice(0, first)), block.lines[:first], block.numbers[:first])
        finder.doubt(block, first)


def _without(block: Block, valid: npt.NDArray[np.bool_], objects: _Objects) -> Batch:
    """For records on which the two grammars do not agree: DuckDB, which must read them, has the last word."""
    broken = list(block.broken)
    for i in np.flatnonzero(~valid):
        text = payload(block.records[int(i)].as_py().encode())
        broken.append(Broken(int(block.numbers[i]), int(block.lines[i]), "bad_json", text))
    rows = objects.sound(block.records.filter(pa.array(valid)))
    return Batch(block.found, rows, block.lines[valid], block.numbers[valid], broken)


class _Objects:
    """Reads the values of some keys from JSON objects."""

    def __init__(self, columns: Sequence[str]):
        self._columns = list(columns)
        self._known = frozenset(columns)
        self._connection = connect()
        shape = quoted(json.dumps(dict.fromkeys(columns, "VARCHAR"), ensure_ascii=False))
        nothing = quoted(json.dumps(dict.fromkeys(columns), ensure_ascii=False))
        self._values = f"select json_transform(r, {shape}) as v, {_KEYS} as k from t"  # noqa: S608
        self._others = f"select nullif(json_merge_patch(r, {nothing})::varchar, '{{}}') as o from t"  # noqa: S608

    def valid(self, records: pa.StringArray) -> npt.NDArray[np.bool_]:
        """Which of the records are valid JSON."""
        flags = query(self._connection, "select json_valid(r) as ok from t", pa.table({"r": records}))
        return np.asarray(flags["ok"].to_numpy(), dtype=np.bool_)

    def sound(self, records: pa.StringArray) -> pa.Table:
        """The values of records that are known to be valid."""
        rows = self.rows(records)
        if rows is None:
            raise ClickstreamError("DuckDB cannot read what it calls valid JSON; this is a defect of the reader.")
        return rows

    def rows(self, records: pa.StringArray) -> pa.Table | None:
        """The values of the columns, and ``extra``; None if a record is not valid."""
        if not len(records):
            return pa.table({name: pa.array([], pa.string()) for name in (*self._columns, "extra")})
        given = pa.table({"r": records})
        try:
            read = query(self._connection, self._values, given).combine_chunks()
        except duckdb.InvalidInputException:
            return None
        if read.num_rows != len(records):
            raise ClickstreamError(
                f"{len(records):,} records were found and {read.num_rows:,} were read; this is a defect of the reader, "
                "please report it with the file"
            )
        values = read["v"].chunk(0).flatten()
        return pa.table([*values, self._extra(records, read["k"].chunk(0))], [*self._columns, "extra"])

    def _extra(self, records: pa.StringArray, keys: pa.StringArray) -> pa.Array:
        """JSON of the keys that are not asked for, with their values, null ones too."""
        shapes = keys.dictionary_encode()  # of 1,000,000 events, a few dozen
        more = pa.array([not self._known.issuperset(text.split(_NUL)) for text in shapes.dictionary.to_pylist()])
        mask = more.take(shapes.indices)
        if not pc.any(mask).as_py():
            return pa.nulls(len(records), pa.string())
        others = query(self._connection, self._others, pa.table({"r": records.filter(mask)}))
        return pc.replace_with_mask(pa.nulls(len(records), pa.string()), mask, others["o"].combine_chunks())


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
