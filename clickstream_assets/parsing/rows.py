"""Records of delimited files as staged raw rows: each known column as text, the rest as JSON, lineage beside them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.parsing import delimited
from clickstream_assets.schemas import QUARANTINE, Table
from clickstream_assets.storage.lake import Lake, Snapshot, StagedWriter
from clickstream_assets.storage.staged import StagedFile

REJECTED_FILE = "rejected_file"

#: rules about whole files, for the reference page; those about records are in ``delimited``
RULES = {
    REJECTED_FILE: (
        "The file as a whole cannot be read: binary, a gzip stream that is cut short or damaged, a required column "
        "missing or there twice, no header, or larger than the limits. It counts as one record."
    ),
}


@dataclass(frozen=True)
class Columns:
    """Where a file has the table's columns (``known``) and what else it has (``unknown``)."""

    count: int
    known: dict[str, int]
    unknown: dict[str, int]


def match_header(header: Sequence[str], required: Sequence[str]) -> Columns:
    """Match a header to the table's columns by name, whatever its order and case.

    Raises:
        RejectedFile: a required column is missing or there twice.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(header):
        places[name.casefold()].append(index)
    missing = [name for name in required if name.casefold() not in places]
    if missing:
        raise RejectedFile(f"the header lacks {', '.join(missing)}; it has {', '.join(header)[:500]}")
    twice = [name for name in required if len(places[name.casefold()]) > 1]
    if twice:
        raise RejectedFile(f"the header has {', '.join(twice)} twice: it is not clear which one to read")
    known = {name: places[name.casefold()][0] for name in required}
    taken = set(known.values())
    unknown: dict[str, int] = {}
    for index, name in enumerate(header):
        if index not in taken:
            key = name or f"column_{index + 1}"
            while key in unknown:
                key += f"_{index + 1}"
            unknown[key] = index
    return Columns(len(header), known, unknown)


class DayWriter:
    """Writes one day's rows and rejects, and counts what it was given."""

    def __init__(self, table: Table, lake: Lake, day: date, run_id: str):
        self.found = 0
        self.rules: Counter[str] = Counter()
        self._table = table
        self._day = day
        self._run_id = run_id
        self._now = datetime.now(UTC)
        self._schema = _in_memory(table)
        self._rows = StagedWriter(lake, table, day, self._schema)
        self._rejects = StagedWriter(lake, QUARANTINE, day, QUARANTINE.arrow)

    def carry_over(self, current: Snapshot, rejected: Snapshot, gone: set[str]) -> None:
        """Keep what landing no longer has: rows and rejects of those files, as they are."""
        mine = pc.field("source_file").isin(list(gone))
        for file in current.files:
            if file.day == self._day:
                kept = pq.read_table(file.uri, filters=mine, partitioning=None)
                self.found += kept.num_rows
                self._rows.append(kept.cast(self._schema))
        of_asset = mine & (pc.field("asset") == self._table.name)
        for file in rejected.files:
            if file.day == self._day:
                kept = pq.read_table(file.uri, filters=of_asset, partitioning=None)
                self.found += kept.num_rows
                self.rules.update(kept["rule"].to_pylist())
                self._rejects.append(kept.cast(QUARANTINE.arrow))

    def reject_file(self, path: str, problem: str) -> None:
        """A file that cannot be read counts as one record."""
        self.found += 1
        self._reject(path, [(None, REJECTED_FILE, json.dumps({"error": problem}, ensure_ascii=False))])

    def write_file(self, path: str, content_hash: str, columns: Columns, reader: delimited.Reader) -> int:
        """Write a file's records; returns how many were found, broken ones included."""
        found = 0
        for block in reader.blocks:
            found += block.found
            if block.broken:
                self._reject(path, [(broken.line, broken.rule, broken.text) for broken in block.broken])
            if len(block.lines):
                self._rows.append(self._parse(block, path, content_hash, columns))
        self.found += found
        return found

    def close(self) -> tuple[list[StagedFile], list[StagedFile]]:
        """Finish; the staged data file and the staged rejects, each a list of none or one."""
        return self._rows.close(), self._rejects.close()

    def _parse(self, block: delimited.Block, path: str, content_hash: str, columns: Columns) -> pa.Table:
        names = [f"c{n}" for n in range(columns.count)]
        # Arrow drops a byte order mark that its input starts with; here it is text of the first field.
        good = delimited.BOM + block.good if block.good.startswith(delimited.BOM) else block.good
        parsed = pacsv.read_csv(
            pa.BufferReader(good),
            # All in one: of a quoted CR LF that falls on the edge of two of its blocks, Arrow loses the LF.
            read_options=pacsv.ReadOptions(column_names=names, block_size=len(good)),
            parse_options=pacsv.ParseOptions(newlines_in_values=block.quoted),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
        count = len(block.lines)
        if parsed.num_rows != count:
            raise ClickstreamError(
                f"{path}: {count:,} records were found from line {block.lines[0]} on and {parsed.num_rows:,} were "
                "read; this is a defect of the reader, please report it with the file"
            )
        values = {name: parsed.column(index) for name, index in columns.known.items()}
        values |= {
            "ingestion_timestamp": _constant(pa.scalar(self._now, pa.timestamp("us", tz="UTC")), count),
            "source_file": _constant(pa.scalar(path), count),
            "source_line": pa.array(block.lines),
            "record_number": pa.array(block.numbers),
            "content_hash": _constant(pa.scalar(content_hash), count),
            "extra": _extra(parsed, columns, count),
            self._table.day: _constant(pa.scalar(self._day), count),
        }
        return pa.table([values[name] for name in self._table.arrow.names], schema=self._schema)

    def _reject(self, path: str, records: Sequence[tuple[int | None, str, str]]) -> None:
        lines, rules, payloads = zip(*records, strict=True)
        self.rules.update(rules)
        count = len(records)
        values = {
            "asset": _constant(pa.scalar(self._table.name), count),
            "source_file": _constant(pa.scalar(path), count),
            "source_line": pa.array(lines, pa.int64()),
            "rule": pa.array(rules),
            "payload": pa.array(payloads),
            "run_id": _constant(pa.scalar(self._run_id), count),
            "quarantined_at": _constant(pa.scalar(self._now, pa.timestamp("us", tz="UTC")), count),
            "partition_date": _constant(pa.scalar(self._day), count),
        }
        self._rejects.append(pa.table([values[name] for name in QUARANTINE.arrow.names], QUARANTINE.arrow.names))


#: per-file constants are dictionaries in memory and plain text in the file: 2 M rows of a 64-digit hash cost nothing
_CONSTANT_TEXT = ("source_file", "content_hash")


def _in_memory(table: Table) -> pa.Schema:
    dictionary = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(f.name, dictionary if f.name in _CONSTANT_TEXT else f.type) for f in table.arrow])


def _constant(value: pa.Scalar, count: int) -> pa.Array:
    if pa.types.is_string(value.type):
        indices = pa.array(np.zeros(count, dtype=np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array([value.as_py()]))
    return pa.repeat(value, count)


def _extra(parsed: pa.Table, columns: Columns, count: int) -> pa.Array:
    if not columns.unknown:
        return pa.nulls(count, pa.string())
    values = [parsed.column(index).to_pylist() for index in columns.unknown.values()]
    names = list(columns.unknown)
    return pa.array(
        (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in zip(*values, strict=True)),
        pa.string(),
    )
