"""Records of landing files as staged raw rows: what their reader gave, with lineage beside it, and the rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.parsing.formats import Batch, Shape
from clickstream_assets.schemas import QUARANTINE, Table
from clickstream_assets.storage.lake import Lake, StagedWriter
from clickstream_assets.storage.slices import SlicedWriter
from clickstream_assets.storage.staged import StagedFile

REJECTED_FILE = "rejected_file"

#: what the quarantine has of a record that cannot be read, in a feed whose records name persons
WITHHELD = "not kept: it may hold personal data"

#: rules about whole files, for the reference page; those about records are their reader's
RULES = {
    REJECTED_FILE: (
        "The file as a whole cannot be read: binary, a gzip stream that is cut short or damaged, a required column "
        "missing or there twice, no header, or larger than the limits. It counts as one record."
    ),
}


class DayWriter:
    """Writes one day's rows and rejects, and counts what it was given; several threads may give it files."""

    def __init__(self, table: Table, lake: Lake, day: date, run_id: str, shape: Shape | None = None):
        self.found = 0
        self.rules: Counter[str] = Counter()
        self._table = table
        self._files = lake.files
        self._day = day
        self._run_id = run_id
        self._shape = shape
        self._lock = Lock()
        self._now = datetime.now(UTC)
        self._schema = _in_memory(table)
        self._rows = SlicedWriter(lake, table, day, self._schema)
        self._rejects = StagedWriter(lake, QUARANTINE, day, QUARANTINE.arrow)

    def carry_over(self, rows: Sequence[StagedFile], rejects: Sequence[StagedFile], paths: Collection[str]) -> None:
        """Keep what the lake has of some landing files and is to stay: their rows and rejects, as they are."""
        mine = pc.field("source_file").isin(list(paths))
        for file in rows:
            kept = self._read(file, mine)
            self.found += kept.num_rows
            self._rows.append(_widened(kept, self._schema).cast(self._schema))
        for file in rejects:
            kept = self._read(file, mine)
            self.found += kept.num_rows
            self.rules.update(kept["rule"].to_pylist())
            self._rejects.append(_widened(kept, QUARANTINE.arrow).cast(QUARANTINE.arrow))

    def _read(self, file: StagedFile, wanted: pc.Expression) -> pa.Table:
        with self._files.open_random(file.path) as source:
            return pq.read_table(source, filters=wanted, partitioning=None)

    def reject_file(self, path: str, problem: str, *, rule: str = REJECTED_FILE) -> None:
        """A file that cannot be read, or must not count, counts as one record."""
        with self._lock:
            self.found += 1
            self._reject(path, [(None, rule, json.dumps({"error": problem}, ensure_ascii=False))])

    def write_file(self, path: str, content_hash: str, batches: Iterable[Batch], *, personal: bool = False) -> int:
        """Write a file's records; returns how many were found, broken ones included.

        ``personal``: its records name persons, so that nothing is kept of broken ones.
        """
        found = 0
        for batch in batches:
            found += batch.found
            if self._shape is not None:
                batch = self._shape(batch, self._day)
            rows = self._with_lineage(batch, path, content_hash) if batch.rows.num_rows else None
            with self._lock:
                if batch.broken:
                    records = [(one.line, one.rule, WITHHELD if personal else one.text) for one in batch.broken]
                    self._reject(path, records)
                if rows is not None:
                    self._rows.append(rows)
        with self._lock:
            self.found += found
        return found

    def close(self) -> tuple[list[StagedFile], list[StagedFile]]:
        """Finish; the staged data files and the staged rejects."""
        return self._rows.close(), self._rejects.close()

    def _with_lineage(self, batch: Batch, path: str, content_hash: str) -> pa.Table:
        count = batch.rows.num_rows
        values = {name: batch.rows.column(name) for name in batch.rows.column_names}
        now = _constant(pa.scalar(self._now, pa.timestamp("us", tz="UTC")), count)
        values |= {
            "ingestion_timestamp": now,
            "processed_at": now,
            "source_file": _constant(pa.scalar(path), count),
            "source_line": pa.array(batch.lines),
            "record_number": pa.array(batch.numbers),
            "content_hash": _constant(pa.scalar(content_hash), count),
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
            "partition_hour": pa.nulls(count, pa.int64()),
        }
        self._rejects.append(pa.table([values[name] for name in QUARANTINE.arrow.names], QUARANTINE.arrow.names))


#: per-file constants are dictionaries in memory and plain text in the file: 2 M rows of a 64-digit hash cost nothing
_CONSTANT_TEXT = ("source_file", "content_hash")


def _in_memory(table: Table) -> pa.Schema:
    dictionary = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(f.name, dictionary if f.name in _CONSTANT_TEXT else f.type) for f in table.arrow])


def _widened(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the columns that were appended to the table after they were written: null."""
    for field in list(schema)[rows.num_columns :]:
        rows = rows.append_column(field.name, pa.nulls(rows.num_rows, field.type))
    return rows


def _constant(value: pa.Scalar, count: int) -> pa.Array:
    if pa.types.is_string(value.type):
        indices = pa.array(np.zeros(count, dtype=np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array([value.as_py()]))
    return pa.repeat(value, count)
